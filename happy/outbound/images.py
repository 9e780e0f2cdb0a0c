"""Fetching and examining the pictures that other sites show of people (http.md 8).

The address comes out of a third party's answer and the bytes out of another's, so neither is trusted:
only GitHub's own picture hosts are asked, and decoding happens in a thread, one picture at a time, with
bounds on bytes and pixels.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

from PIL import Image
from twisted.internet.defer import DeferredSemaphore
from twisted.internet.threads import deferToThreadPool

from happy.outbound.http import CallFailed, Outgoing
from happy.outbound.thumbhash import LARGEST, thumbhash

MOST_BYTES = 5 * 1024 * 1024
"""A larger file is not fetched."""
MOST_PIXELS = 10_000_000
"""A larger picture is not decoded: it takes up to 10 bytes of memory a pixel."""
LONGEST_SIDE = 20_000
"""A longer picture is not decoded: a line takes up to 30 bytes of memory, however short it is."""
MOST_WAITING = 10
"""Pictures that may wait for their turn."""

_GITHUB_PICTURE = re.compile(r"https://(?:[a-z0-9-]+\.)*githubusercontent\.com/[!-\[\]-~]{0,2000}", re.ASCII)
_EXTENSIONS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg"}


class NotAPicture(Exception):
    """Bytes that are no PNG or JPEG picture of bearable size, or an address that is not asked for one."""


class Picture(NamedTuple):
    """A picture as it was fetched, with its own measures in pixels and its thumbhash in base64."""

    data: bytes
    extension: str
    width: int
    height: int
    thumbhash: str


def is_github_picture(url: str) -> bool:
    """Whether the address is on GitHub's picture hosts, by TLS on the usual port, without credentials.

    The whole text is matched: a parser that reads it differently than the client does decides nothing.
    """
    return _GITHUB_PICTURE.fullmatch(url) is not None


class Pictures:
    """Pictures from addresses that ``trusted`` accepts.

    ``reactor`` lends its thread pool.
    """

    def __init__(
        self, outgoing: Outgoing, reactor: Any, trusted: Callable[[str], bool] = is_github_picture
    ) -> None:
        self._outgoing = outgoing
        self._reactor = reactor
        self._trusted = trusted
        self._one_at_a_time = DeferredSemaphore(1)

    async def fetch(self, url: str) -> Picture:
        """The picture at ``url``. Raises :class:`NotAPicture` and :class:`CallFailed`."""
        if not self._trusted(url):
            raise NotAPicture("its address is not trusted")
        data = await self._outgoing.fetch("GET", url)
        if len(self._one_at_a_time.waiting) >= MOST_WAITING:
            raise CallFailed("busy")
        await self._one_at_a_time.acquire()
        try:
            return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), examine, data)
        finally:
            self._one_at_a_time.release()


def examine(data: bytes) -> Picture:
    """Decode and measure a picture. Slow: up to a second. Raises :class:`NotAPicture`."""
    extension = next((name for magic, name in _EXTENSIONS.items() if data.startswith(magic)), None)
    if extension is None:
        raise NotAPicture("it is neither PNG nor JPEG")
    try:
        width, height, placeholder = _decode(data)
    except NotAPicture:
        raise
    except Exception as error:
        # The decoders meet hostile bytes with many kinds of errors, all of which say the same here.
        raise NotAPicture("it cannot be decoded") from error
    return Picture(data, extension, width, height, b64encode(placeholder).decode())


def _decode(data: bytes) -> tuple[int, int, bytes]:
    """Width, height and thumbhash."""
    with Image.open(BytesIO(data), formats=("PNG", "JPEG")) as image:
        width, height = image.size
        if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
            raise NotAPicture("it has too many pixels")
        size = fitted(width, height)
        image.draft(None, (2 * size[0], 2 * size[1]))  # lets a JPEG be decoded at a fraction of its size
        small = _rgba(image).resize(size, reducing_gap=2.0)
        return width, height, thumbhash(*size, small.tobytes())


def _rgba(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = image.point(lambda value: value * (1 / 256))  # 16 bits, which a conversion would cut off
    return image.convert("RGBA")


def fitted(width: int, height: int) -> tuple[int, int]:
    """The measures with the longer side made 100, the other in proportion."""
    longer = max(width, height)
    return max(1, round(width * LARGEST / longer)), max(1, round(height * LARGEST / longer))
