"""The forms in which TZ names a time zone (POSIX.1 XBD 8.3, tzset(3)), and the one that PostgreSQL takes."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_RULES = ",M3.2.0,M11.1.0"
"""When summer is, where nobody says: what C libraries take then."""

_HEADER = b"TZif2" + bytes(15) + b"\0\0\0\0" * 4 + b"\0\0\0\1\0\0\0\4"
_DATA = _HEADER + b"\0\0\0\0\0\0UTC\0"
"""A block of RFC 9636 with one type of local time and no transition."""

_LONGEST = 255
"""Bytes that PostgreSQL takes."""


def time_zone(value: str) -> str:
    """A zone's name, or POSIX's rules of one, from any form of TZ: with a colon, or the path of a file, too.

    Raises ValueError with what the value must be.
    """
    text = value.removeprefix(":")
    for form in (_of_file, _name, _rules):
        try:
            if found := form(text):
                return found
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
    raise ValueError("be the name of a time zone")


def _name(text: str) -> str:
    """A name of the list of zones, without the folder that tells how leap seconds are counted."""
    return ZoneInfo(re.sub(r"^(posix|right)/", "", text)).key


def _rules(text: str) -> str | None:
    """POSIX's rules, as they are: ``CET-1CEST,M3.5.0,M10.5.0/3``."""
    if not re.fullmatch(r"[\x21-\x7e]{4,}", text) or len(text) > _LONGEST:
        return None
    for rules in (text, text + _RULES):
        try:
            ZoneInfo.from_file(io.BytesIO(_DATA * 2 + b"\n" + rules.encode() + b"\n"))
        except ValueError:
            continue
        return rules
    return None


def _of_file(text: str) -> str | None:
    """What a zone's file stands for: the name that it has below ``zoneinfo``, else the rules in it."""
    if text == "localtime":
        text = "/etc/localtime"
    if not text.startswith("/"):
        return None
    _, below, name = os.path.realpath(text).partition("/zoneinfo/")
    if below:
        return _name(name)
    with Path(text).open("rb") as file:
        return _rules_in(file)


def _rules_in(file: io.BufferedReader) -> str | None:
    """The rules at the end of a zone's file, which hold from its last change on."""
    ZoneInfo.from_file(file)
    file.seek(0)
    return _rules(file.read().rstrip(b"\n").rpartition(b"\n")[2].decode())
