"""Parts of a file, and requests for a file that the client may already have (RFC 9110 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)

Header = Callable[[str], str | None]


class Part(NamedTuple):
    """What of a file is sent, and the status that says so."""

    status: int
    start: int
    length: int


def whole(size: int) -> Part:
    """All of a file."""
    return Part(200, 0, size)


def unchanged(header: Header, etag: str | None, modified: int | None) -> bool:
    """Whether the client has this very version: by ETag if it names any, otherwise by date.

    ``modified`` is in epoch seconds.
    """
    known = header("if-none-match")
    if known is not None:
        return etag is not None and (known.strip() == "*" or _same_tag(etag, known.split(",")))
    since = _seconds(header("if-modified-since"))
    return since is not None and modified is not None and modified <= since


def requested_part(header: Header, size: int, etag: str | None = None, modified: int | None = None) -> Part:
    """The part a client asks for: all of it unless it names a single range it can use.

    Status 416 tells a range that begins behind the end; nothing is sent then.
    """
    named = _RANGE.fullmatch((header("range") or "").replace(" ", ""))
    if named is None or named.groups() == ("", "") or not _still_valid(header("if-range"), etag, modified):
        return whole(size)
    first, last = named.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    if start >= size:
        return Part(416, 0, 0)
    return Part(206, start, end - start) if end > start else whole(size)


def range_headers(part: Part, size: int) -> dict[str, str]:
    """What says which part of a file of ``size`` bytes is sent; nothing for a whole file."""
    if part.status == 416:
        return {"content-range": f"bytes */{size}"}
    if part.status == 206:
        return {"content-range": f"bytes {part.start}-{part.start + part.length - 1}/{size}"}
    return {}


def _still_valid(condition: str | None, etag: str | None, modified: int | None) -> bool:
    if condition is None:
        return True
    if condition.endswith('"'):
        # A weak tag does not promise the same bytes.
        return condition == etag and not condition.startswith("W/")
    return modified is not None and _seconds(condition) == modified


def _same_tag(etag: str, known: list[str]) -> bool:
    return etag.removeprefix("W/") in (tag.strip().removeprefix("W/") for tag in known)


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        parsed: datetime = parsedate_to_datetime(text)
        return int(parsed.timestamp())
    except (ValueError, OverflowError):
        return None
