"""Heads of requests (RFC 9112), whole and in parts, and against Twisted's parser."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.web.http import HTTPChannel, Request

from happy.wire.heads import (
    LARGEST_HEAD,
    MOST_LINES,
    BadHead,
    Beginning,
    Head,
    HeadTooLarge,
    parse_head,
    parse_usual,
)

START = b"GET / HTTP/1.1\r\n"


def read(data: bytes, step: int = LARGEST_HEAD * 2) -> Any:
    """The head and the rest, None for an unfinished one, or what it is refused as."""
    beginning = Beginning()
    try:
        for place in range(0, len(data), step):
            if found := beginning.feed(data[place : place + step]):
                head, rest = found
                return head, rest + data[place + step :]
    except (BadHead, HeadTooLarge) as refusal:
        return type(refusal)
    return None


def test_whole() -> None:
    """A head is taken apart; blanks around values are nobody's."""
    data = b"POST /a?b HTTP/1.1\r\nHost: h\r\nX:\t y z \r\nEmpty:\r\nContent-Length: 05\r\n\r\nhello"
    fields = [(b"Host", b"h"), (b"X", b"y z"), (b"Empty", b""), (b"Content-Length", b"05")]
    assert read(data) == (Head(b"POST", b"/a?b", b"HTTP/1.1", fields, 5), b"hello")


@pytest.mark.parametrize("start", [b"", b"\r\n"])
def test_byte_by_byte(start: bytes) -> None:
    """Nothing depends on how a head is cut, and an empty line before it is forgiven."""
    data = start + b"POST /a?b HTTP/1.0\r\nA: b\r\nContent-Length: 2\r\n\r\nhi"
    assert (
        read(data, 1)
        == read(data)
        == (Head(b"POST", b"/a?b", b"HTTP/1.0", [(b"A", b"b"), (b"Content-Length", b"2")], 2), b"hi")
    )


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00",
        b"\n",
        b"\r\r",
        b"\r\n\r\n",
        b" GET",
        b"GET / HTTP/1.1\nHost",
        b"GET  /",
        b"GET /a b",
        b"GET / HTTP/2",
        b"PRI * HTTP/2.0\r\n\r\nSM",
        b"SSH-2.0-x\r\n",
        b"M" * 33,
        b"GET /\0",
        START + b" folded",
        START + b"A: b\r\n folded",
        START + b"A: b\r\n\tfolded",
        START + b"A : b",
        START + b": b",
        START + b"A\r\n",
        START + b"A: b\nB",
        START + b"A: b\rB",
        START + b"A: \0",
        START + b"A\xe4: b",
    ],
)
def test_hopeless(data: bytes) -> None:
    """What cannot become HTTP is refused at the byte that says so, not when the client falls silent."""
    assert read(data) == read(data, 1) == BadHead


@pytest.mark.parametrize("length", [0, 1, 14, 15, 16, 20, 23])
def test_unfinished(length: int) -> None:
    """The beginning of a head is waited for."""
    assert read((START + b"Host: h\r\n\r\n")[:length]) is None


@pytest.mark.parametrize(
    "fields",
    [
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: \x0bchunked",
        b"Content-Length: 3\r\nContent-Length: 3",
        b"Content-Length: 3\r\ncontent-length: 4",
        b"Content-Length: 3, 3",
        b"Content-Length: +3",
        b"Content-Length: -3",
        b"Content-Length: 0x3",
        b"Content-Length: 3 3",
        b"Content-Length: \xb2",
        b"Content-Length:",
    ],
)
def test_two_meanings(fields: bytes) -> None:
    """A body whose end two readers could see at different places is refused."""
    assert read(b"POST / HTTP/1.1\r\nHost: h\r\n" + fields + b"\r\n\r\n") == BadHead
    assert parse_usual(b"POST / HTTP/1.1\r\nHost: h\r\n" + fields + b"\r\n\r\nabc") is None


def test_lengths() -> None:
    """Chunked has no length, and of many digits the length is simply large."""
    for fields, length in (
        (b"Transfer-Encoding: CHUNKED\r\n", None),
        (b"Content-Length: " + b"0" * 5000 + b"2\r\n", 2),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n", 10**18 - 1),
        (b"", 0),
    ):
        assert parse_head(b"POST / HTTP/1.1\r\n" + fields + b"\r\n").length == length
    with pytest.raises(BadHead):
        parse_head(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n")


@pytest.mark.parametrize("step", [1, 1000, LARGEST_HEAD * 2])
def test_too_large(step: int) -> None:
    """A head of more than 16 KiB is refused, in one line or in many; one that fits is not."""
    for filling in (b"X: " + b"x" * LARGEST_HEAD, b"X:\r\n" * LARGEST_HEAD):
        assert read(START + filling, step) == HeadTooLarge
        assert read(START + filling + b"\r\n\r\n", step) == HeadTooLarge
    assert read(b"GET /" + b"x" * LARGEST_HEAD, step) == HeadTooLarge
    fits = START + b"X: " + b"x" * (LARGEST_HEAD - len(START) - 7)
    assert isinstance(read(fits + b"\r\n\r\n", step), tuple)


@pytest.mark.parametrize("step", [1, 1000, LARGEST_HEAD * 2])
def test_too_many_lines(step: int) -> None:
    """Lines are counted, whatever is in them; an unfinished head is refused at the first too many."""
    for line in (b"X:\r\n", b"a: b\r\n"):
        fits = START + line * MOST_LINES
        assert read(fits, step) is None
        assert isinstance(read(fits + b"\r\n", step), tuple)
        assert read(fits + line, step) == HeadTooLarge
        assert read(fits + line + b"\r\n", step) == HeadTooLarge


def test_too_large_usual() -> None:
    """A usual request has a head of as many bytes at most."""
    fits = START + b"Host: h\r\nX: " + b"x" * (LARGEST_HEAD - len(START) - 16)
    assert parse_usual(fits + b"\r\n\r\n") is not None
    assert parse_usual(fits + b"x\r\n\r\n") is None


def test_too_many_usual_lines() -> None:
    """What has too many lines is no usual request either."""
    lines = [b"a%d: b\r\n" % number for number in range(MOST_LINES)]
    assert parse_usual(START + b"".join([b"Host: h\r\n", *lines[1:]]) + b"\r\n")
    assert parse_usual(START + b"".join([b"Host: h\r\n", *lines]) + b"\r\n") is None


class Oracle(Request):
    """What Twisted's own channel makes of a request."""

    seen: list[Any]

    def process(self) -> None:
        assert self.content is not None
        fields = sorted(
            (name.lower(), value)
            for name, values in self.requestHeaders.getAllRawHeaders()
            for value in values
        )
        self.seen.append((self.method, self.uri, self.clientproto, fields, self.content.read()))


def twisted_reads(data: bytes) -> Any:
    """The first request that Twisted sees, None if there is none."""
    kind = type("Kind", (Oracle,), {"seen": []})
    channel = HTTPChannel()
    channel.requestFactory = kind
    channel.timeOut = None  # type: ignore[assignment]
    channel.makeConnection(StringTransport())
    channel.dataReceived(data)
    return kind.seen[0] if kind.seen else None


LINES = st.sampled_from(
    [b"Host: h", b"A:b", b"A: \tb\t", b"a : b", b" a: b", b"A: \0", b"A: b\nC: d", b"A: b\r", b"", b":", b"A",
     b"Content-Length: 2", b"Content-Length: +2", b"content-length:2", b"Transfer-Encoding: identity"]
)  # fmt: skip
FIRST = st.sampled_from(
    [
        b"POST / HTTP/1.1",
        b"GET /?\xa0 HTTP/1.0",
        b"get a HTTP/1.1",
        b"G / HTTP/1.2",
        b"GET / HTTP/1.1 ",
        b"\r\nGET / HTTP/1.1",
    ]
)
REQUESTS = st.tuples(FIRST, st.lists(LINES, max_size=4)).map(
    lambda parts: b"\r\n".join([parts[0], *parts[1], b"", b"hi"])
)


@given(REQUESTS)
@example(b"GET / HTTP/1.1\r\nA: b\r\n\r\n")
def test_no_more_than_twisted(data: bytes) -> None:
    """What is taken is a request to Twisted too, with the same head and the same end."""
    found = read(data)
    if not isinstance(found, tuple) or found[0].length is None:
        return
    head, rest = found
    if len(rest) >= head.length:
        fields = sorted((name.lower(), value) for name, value in head.fields)
        assert twisted_reads(data) == (head.method, head.target, head.version, fields, rest[: head.length])


@pytest.mark.parametrize(("digits", "usual"), [("3", True), ("000000003", True), ("0000000003", False)])
def test_digits_of_a_usual_length(digits: str, usual: bool) -> None:
    """A length of up to nine digits is usual."""
    request = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {digits}\r\n\r\nabc".encode()
    assert (parse_usual(request) is not None) is usual
