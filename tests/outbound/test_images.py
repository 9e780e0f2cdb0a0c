"""Fetching pictures from places and of contents that mean no good."""

from __future__ import annotations

import contextlib
import struct
import zlib
from base64 import b64decode
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from happy.metrics import Metrics
from happy.outbound import images
from happy.outbound.http import CallFailed, Outgoing
from happy.outbound.images import NotAPicture, Pictures, examine, fitted, is_github_picture
from tests.outbound.standin import StandIn, answer


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_that_claims(width: int, height: int) -> bytes:
    """A small PNG file whose header announces a large picture."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(bytes(10_000)))


@pytest.mark.parametrize(
    "url",
    [
        "https://avatars.githubusercontent.com/u/583231?v=4",
        "https://avatars3.githubusercontent.com/",
        "https://githubusercontent.com/u/1",
    ],
)
def test_github_addresses(url: str) -> None:
    """GitHub's picture hosts are trusted."""
    assert is_github_picture(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://avatars.githubusercontent.com/u/1",
        "https://avatars.githubusercontent.com:8443/u/1",
        "https://avatars.githubusercontent.com@127.0.0.1/u/1",
        "https://user@avatars.githubusercontent.com/u/1",
        "https://avatars.githubusercontent.com\\@127.0.0.1/u/1",
        "https://avatars.githubusercontent.com.example.org/u/1",
        "https://evilgithubusercontent.com/u/1",
        "https://avatars.githubusercontent.com/u/1\r\nHost: x",
        "https://avatars.githubusercontent.com/\\x",
        "https://127.0.0.1/u/1",
        "https://[::1]/u/1",
        "https://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "",
    ],
)
def test_other_addresses(url: str) -> None:
    """Every other place, inner ones first of all, is not asked for pictures."""
    assert not is_github_picture(url)


@pytest.mark.parametrize(
    ("measures", "expected"),
    [((460, 460), (100, 100)), ((3, 2), (100, 67)), ((1, 1000), (1, 100)), ((50, 100), (50, 100))],
)
def test_fitting(measures: tuple[int, int], expected: tuple[int, int]) -> None:
    """The longer side becomes exactly 100, also of a small picture; none becomes 0."""
    assert fitted(*measures) == expected


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_png_of_every_mode(mode: str) -> None:
    """PNG pictures of all colour models are measured as they are."""
    data = saved(Image.new(mode, (200, 120)))
    picture = examine(data)
    assert (picture.width, picture.height, picture.extension) == (200, 120, "png")
    assert picture.data == data
    assert 5 <= len(b64decode(picture.thumbhash)) <= 40


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_of_every_mode(mode: str) -> None:
    """JPEG pictures likewise, and their own measures are kept although they are decoded smaller."""
    picture = examine(saved(Image.new(mode, (1000, 700)), "JPEG"))
    assert (picture.width, picture.height, picture.extension) == (1000, 700, "jpg")


def test_sixteen_bit_grey_keeps_its_brightness() -> None:
    """A dark picture of 16 bits is dark in the placeholder as well."""
    dark = examine(saved(Image.new("I;16", (10, 10), 0x1000))).thumbhash
    assert b64decode(dark)[0] & 63 == round(63 * 0x10 / 255)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        saved(Image.new("RGB", (5, 5)), "GIF"),
        saved(Image.new("RGB", (5, 5)), "WEBP"),
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff" + bytes(100),
        saved(Image.effect_noise((300, 300), 50))[:20_000],
        saved(Image.effect_noise((300, 300), 50), "JPEG")[:5_000],
        png_that_claims(0, 0),
        png_that_claims(60_000, 60_000),
        png_that_claims(4_000, 2_501),
        png_that_claims(1, 20_001),
    ],
    ids=range(12),
)
def test_no_picture(data: bytes) -> None:
    """Other formats, damaged and cut off files, and pictures too large to decode are refused."""
    with pytest.raises(NotAPicture):
        examine(data)


def test_too_many_pixels_are_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on pixels holds before decoding begins."""
    monkeypatch.setattr(images, "_rgba", lambda image: pytest.fail("decoded"))
    with pytest.raises(NotAPicture, match="pixels"):
        examine(saved(Image.new("1", (4000, 2501))))


SMALL = {
    "PNG": saved(Image.effect_noise((40, 30), 60)),
    "JPEG": saved(Image.effect_noise((40, 30), 60), "JPEG"),
}


@settings(max_examples=60)
@given(st.sampled_from(["PNG", "JPEG"]), st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_damage_is_survived(format: str, place: int, damage: bytes) -> None:
    """Whatever bytes are damaged, the result is a picture or the one error."""
    data = bytearray(SMALL[format])
    place = 8 + place % (len(data) - 16)
    data[place : place + len(damage)] = damage
    with contextlib.suppress(NotAPicture):
        examine(bytes(data))


class PicturesTests(TestCase):
    """Fetching over a real socket and decoding in a real thread."""

    def pictures(self, script: Any, **options: Any) -> tuple[Pictures, StandIn]:
        standin = StandIn(script)
        self.addCleanup(lambda: Deferred.fromCoroutine(standin.close()))
        outgoing = Outgoing("avatars", reactor, Metrics(CollectorRegistry()), limit=images.MOST_BYTES)
        return Pictures(outgoing, reactor, **options), standin

    async def test_fetched(self) -> None:
        """A picture at a trusted address is fetched and measured."""
        data = saved(Image.new("RGB", (20, 10)))
        pictures, standin = self.pictures(lambda asked, _: answer(data), trusted=lambda url: True)
        picture = await pictures.fetch(standin.url + "/u/1")
        self.assertEqual((picture.data, picture.width, picture.height), (data, 20, 10))

    async def test_untrusted_address(self) -> None:
        """An address elsewhere is not even connected to."""
        pictures, standin = self.pictures(lambda asked, _: answer(b""))
        with self.assertRaises(NotAPicture):
            await pictures.fetch(standin.url + "/u/1")
        self.assertEqual(standin.asked, [])

    async def test_next_one_after_a_bad_one(self) -> None:
        """A refused picture, and one that cannot be had, do not keep the next one from its turn."""
        replies = [answer(b"no picture"), answer(b"", 404), answer(saved(Image.new("L", (2, 2))))]
        pictures, standin = self.pictures(
            lambda asked, _: replies[len(standin.asked) - 1], trusted=lambda url: True
        )
        with self.assertRaises(NotAPicture):
            await pictures.fetch(standin.url)
        with self.assertRaises(CallFailed):
            await pictures.fetch(standin.url)
        self.assertEqual((await pictures.fetch(standin.url)).extension, "png")
