"""Usual HTTP requests: recognised as a whole, or not at all.

What nearly every client sends is a GET, POST, PUT or DELETE with plain header lines (one space after the
colon, none at the end), no header twice, and a body of known length, in one piece. :func:`parse_usual` takes
such a request apart in one step. It judges nothing: whatever is different, wrong or incomplete is left to the
general parser.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

LARGEST_HEAD: Final = 16 * 1024
_MOST_DIGITS: Final = 9

_HEAD: Final = re.compile(
    rb"(GET|POST|PUT|DELETE) ([!-~]++) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++: [!-~\x80-\xff][ -~\x80-\xff]*+\r\n)++)\r\n"
)
_UNUSUAL: Final = frozenset({"expect", "transfer-encoding"})


class Usual(NamedTuple):
    """A request; the names of ``headers`` are in lower case."""

    method: bytes
    uri: bytes
    headers: dict[str, str]
    body: bytes


def parse_usual(data: bytes) -> Usual | None:
    """The one request that ``data`` consists of; None if it is not exactly one, or an unusual one."""
    head = _HEAD.match(data)
    if head is None:
        return None
    end = head.end()
    method, uri, lines = head.groups()
    headers = _headers(lines)
    if end > LARGEST_HEAD or headers is None or _length(headers) != len(data) - end:
        return None
    return Usual(method, uri, headers, data[end:])


def _headers(lines: bytes) -> dict[str, str] | None:
    """Header lines, each with its end, by name; None if a name repeats or changes how the rest is read."""
    fields = lines.decode("latin-1").split("\r\n")
    fields.pop()
    headers = {}
    for field in fields:
        name, _, value = field.partition(": ")
        headers[name.lower()] = value
    if len(headers) != len(fields) or "host" not in headers or not _UNUSUAL.isdisjoint(headers):
        return None
    return None if b" \r\n" in lines else headers


def _length(headers: dict[str, str]) -> int | None:
    """The length of the body; None for one that is written in an odd way."""
    digits = headers.get("content-length")
    if digits is None:
        return 0
    return int(digits) if len(digits) <= _MOST_DIGITS and digits.isdecimal() else None
