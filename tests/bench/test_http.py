"""Reading HTTP answers."""

from __future__ import annotations

import pytest

from happy.bench.http import Answer, Malformed, parse_answer

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"


@pytest.mark.parametrize("data", [PLAIN, CHUNKED])
def test_incomplete_until_whole(data: bytes) -> None:
    """No prefix is an answer; the whole is."""
    assert not any(parse_answer(data[:size]) for size in range(len(data) - 2))
    assert parse_answer(data) == (Answer(200, b"hello"), True)


def test_closing() -> None:
    """An answer tells that the connection ends."""
    data = b"HTTP/1.1 503 Busy\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n"
    assert parse_answer(data) == (Answer(503, b""), False)


def test_no_body() -> None:
    """204 needs no length."""
    assert parse_answer(b"HTTP/1.1 204 No Content\r\n\r\n") == (Answer(204, b""), True)


@pytest.mark.parametrize("data", [b"SSH-2.0\r\n\r\n", b"HTTP/1.1 yes\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_malformed(data: bytes) -> None:
    """What is no answer is refused."""
    with pytest.raises(Malformed):
        parse_answer(data)
