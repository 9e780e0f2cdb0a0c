"""Bodies in chunks (RFC 9112, 7.1), whole and in parts, and against Twisted's decoder."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.web.http import _ChunkedTransferDecoder, _MalformedChunkedDataError

from happy.wire.chunks import LONGEST_LINE, MOST_FRAMING, MOST_TRAILERS, BadChunk, Chunks


def read(data: bytes, step: int = 1 << 20, begun: Chunks | None = None) -> Any:
    """The content and what follows the body, None if that is not complete; or what it is refused as."""
    chunks, content, surplus = begun or Chunks(), b"", None
    try:
        for place in range(0, len(data), step):
            piece, surplus = chunks.feed(data[place : place + step])
            content += piece
            if surplus is not None:
                return content, surplus + data[place + step :]
    except BadChunk:
        return BadChunk
    return content, None


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_whole(step: int) -> None:
    """Nothing depends on how a body is cut; extensions and trailers are nobody's."""
    data = b"5\r\nhello\r\n0A;name=value\r\n, hard\r\nwo\r\n3;\r\nrld\r\n000;x\r\nA: b\r\nC:\r\n\r\nGET"
    assert read(data, step) == (b"hello, hard\r\nworld", b"GET")


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize(
    "data",
    [
        b"z",
        b"\n",
        b"\r\n",
        b"-1\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"0x1\r\n",
        b";a\r\n",
        b"1\n",
        b"1;\0",
        b"1;a\nb",
        b"1\r\nab",
        b"1\r\na\n",
        b"1\r\na\rb",
        b"0\r\n\n",
        b"0\r\nA b\r\n",
        b"0\r\nA: \0",
        b"0" * (LONGEST_LINE + 1),
        b"1;" + b"x" * LONGEST_LINE,
    ],
)
def test_hopeless(data: bytes, step: int) -> None:
    """What cannot become a chunk is refused at the byte that says so."""
    assert read(data, step) == BadChunk


def test_longest_line() -> None:
    """A line that may yet end in time is waited for, and refused when it did not."""
    chunks = Chunks()
    assert chunks.feed(b"1;" + b"x" * (LONGEST_LINE - 4)) == (b"", None)
    with pytest.raises(BadChunk):
        chunks.feed(b"x")


def test_framing() -> None:
    """Chunks may take so much beside their content, and not a byte more."""
    chunks, chunk = Chunks(), b"1;" + b"x" * (LONGEST_LINE - 6) + b"\r\na\r\n"
    for _ in range(MOST_FRAMING // (len(chunk) - 1)):
        assert chunks.feed(chunk) == (b"a", None)
    with pytest.raises(BadChunk):
        chunks.feed(b"1")


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize("lines", [1, 3])
def test_trailers(lines: int, step: int) -> None:
    """A large body pays for no more trailers than a small one, however they come."""
    size = 8 * MOST_TRAILERS
    most = MOST_TRAILERS - len(b"\r\n") - len(b"A:\r\n") * lines
    for more, found in ((0, (b"", b"GET")), (1, BadChunk)):
        chunks = Chunks()
        chunks.feed(b"%x\r\n" % size + b"x" * size)
        trailers = b"A:\r\n" * (lines - 1) + b"A:" + b"v" * (most + more) + b"\r\n\r\nGET"
        assert read(b"\r\n0\r\n" + trailers, step, chunks) == found


def test_owed() -> None:
    """What a chunk says is known before its content comes."""
    chunks = Chunks()
    assert chunks.feed(b"ffff") == (b"", None)
    assert chunks.owed == 0
    assert chunks.feed(b"\r\nabc") == (b"abc", None)
    assert chunks.owed == 0xFFFF - 3


LINES = st.sampled_from(
    [b"1\r\na\r\n", b"2;x=y\r\nbc\r\n", b"0003\r\n\r\n1\r\n", b"0\r\n", b"A: b\r\n", b"\r\n", b"x"]
)


@given(st.lists(LINES, max_size=6).map(b"".join), st.integers(1, 8))
def test_no_more_than_twisted(data: bytes, step: int) -> None:
    """What is taken is the same to Twisted, however it is cut."""
    found = read(data, step)
    assert found == read(data)
    if found == BadChunk:
        return
    content: list[bytes] = []
    rest: list[bytes] = []
    try:
        _ChunkedTransferDecoder(content.append, rest.append).dataReceived(data)
    except _MalformedChunkedDataError:
        raise AssertionError("Twisted refuses it") from None
    assert found == (b"".join(content), rest[0] if rest else None)
