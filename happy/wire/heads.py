"""Heads of HTTP requests (RFC 9112), in one step.

What nearly every client sends is a GET, POST, PUT or DELETE with plain header lines (one space after the
colon, none at the end), no header twice, and a body of known length, in one piece. :func:`parse_usual` takes
such a request apart. It judges nothing: whatever is different, wrong or incomplete is for :func:`parse_head`,
which takes every head that there is, and refuses what two readers could understand in two ways: folded
lines, bare line ends, a length that is not simply digits, two lengths, any coding but ``chunked``.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

LARGEST_HEAD: Final = 16 * 1024
MOST_LINES: Final = 200
"""Header lines of one head. A line takes the same time however short it is."""

_MOST_DIGITS: Final = 9

_HEAD: Final = re.compile(
    rb"(GET|POST|PUT|DELETE) ([!-~]++) HTTP/1\.1\r\n"
    rb"((?:[!#$%%&'*+\-.^_`|~0-9A-Za-z]++: [!-~\x80-\xff][ -~\x80-\xff]*+\r\n){1,%d}+)\r\n" % MOST_LINES
)
_UNUSUAL: Final = frozenset({"expect", "transfer-encoding"})

_END: Final = b"\r\n\r\n"
_EMPTY_LINE: Final = b"\r\n"  # one is forgiven before a request (RFC 9112, 2.2)
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_REQUEST_LINE: Final = re.compile(rb"(%b{1,32}+) ([!-\xb0]++) (HTTP/1\.[01])\r\n" % _TOKEN)
_UNFINISHED_LINE: Final = re.compile(
    rb"\r|(?:%b{1,32}+(?: (?:[!-\xb0]++(?: (?:H(?:T(?:T(?:P(?:/(?:1(?:\.(?:[01]\r?)?)?)?)?)?)?)?)?)?)?)?)?"
    % _TOKEN
)
# Not ``)*+``: early versions of Python 3.11 then find the beginning of a line that is not complete, too.
FIELDS: Final = re.compile(rb"(?:%b++:[^\0\r\n]*+\r\n)*" % _TOKEN)
UNFINISHED_FIELD: Final = re.compile(rb"(?:%b++(?::[^\0\r\n]*+)?)?\r?" % _TOKEN)
_MOST_DIGITS_OF_ALL: Final = 18  # no body is so large, whatever follows


def closes(connection: bytes) -> bool:
    """Whether a header ``Connection`` with this value ends the connection."""
    return b"close" in [token.strip() for token in connection.lower().split(b",")]


class BadHead(ValueError):
    """What is not HTTP, or could be read in two ways."""


class HeadTooLarge(ValueError):
    """A head beyond :data:`LARGEST_HEAD` or :data:`MOST_LINES`."""


class Head(NamedTuple):
    """The head of a request; ``length`` is that of its body, None for a chunked one."""

    method: bytes
    target: bytes
    version: bytes
    fields: list[tuple[bytes, bytes]]
    length: int | None


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


def parse_head(data: bytes) -> Head:
    """A whole head, the empty line at its end included. Raises :class:`BadHead` and :class:`HeadTooLarge`."""
    line = _REQUEST_LINE.match(data, _start(data))
    if line is None or FIELDS.fullmatch(data, line.end(), len(data) - len(_EMPTY_LINE)) is None:
        raise BadHead
    method, target, version = line.groups()
    lines = data[line.end() : -len(_END)].split(_EMPTY_LINE)
    if len(lines) > MOST_LINES:
        raise HeadTooLarge
    fields = []
    for text in lines:
        name, colon, value = text.partition(b":")
        if colon:
            fields.append((name, value.strip(b" \t")))
    return Head(method, target, version, fields, _body_length(version, fields))


def _start(data: bytes) -> int:
    return len(_EMPTY_LINE) if data.startswith(_EMPTY_LINE) else 0


def _body_length(version: bytes, fields: list[tuple[bytes, bytes]]) -> int | None:
    """The length that everybody reads in the same way (RFC 9112, 6); None for a chunked body."""
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    codings = [value for name, value in fields if name.lower() == b"transfer-encoding"]
    if codings:
        if lengths or len(codings) > 1 or codings[0].lower() != b"chunked" or version == b"HTTP/1.0":
            raise BadHead
        return None
    if len(lengths) > 1 or not all(length.isdigit() for length in lengths):
        raise BadHead
    return int(lengths[0].lstrip(b"0")[:_MOST_DIGITS_OF_ALL] or b"0") if lengths else 0


class Beginning:
    """The head of one request, as it arrives; no byte of it is judged twice."""

    __slots__ = ("_judged", "_lines", "_text")

    def __init__(self) -> None:
        self._text = b""
        self._judged = 0
        self._lines = 0

    def feed(self, data: bytes) -> tuple[Head, bytes] | None:
        """The head and what follows it, once it is complete.

        Raises :class:`BadHead` as soon as it cannot become one, and :class:`HeadTooLarge`.
        """
        text = self._text + data
        end = text.find(_END, max(len(self._text) - len(_END) + 1, 0), LARGEST_HEAD)
        if end < 0:
            self._text = text[:LARGEST_HEAD]
            self._judge()
            return None
        end += len(_END)
        return parse_head(text[:end]), text[end:]

    def _judge(self) -> None:
        """Look at the lines that are new, the last of which is not complete."""
        text = self._text
        if not self._judged:
            start = _start(text)
            line = _REQUEST_LINE.match(text, start)
            if line is not None:
                self._judged = line.end()
            elif _UNFINISHED_LINE.fullmatch(text, start) is None:
                raise BadHead
        if self._judged:
            end = max(text.rfind(_EMPTY_LINE, self._judged) + len(_EMPTY_LINE), self._judged)
            if not (FIELDS.fullmatch(text, self._judged, end) and UNFINISHED_FIELD.fullmatch(text, end)):
                raise BadHead
            self._lines += text.count(_EMPTY_LINE, self._judged, end)
            self._judged = end
        if len(text) >= LARGEST_HEAD or self._lines > MOST_LINES:
            raise HeadTooLarge
