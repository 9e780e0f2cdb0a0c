"""Frames that the server sends, by the letter of RFC 6455 section 5.2."""

from __future__ import annotations

import pytest

from happy.wire.frames import BINARY, TEXT, encode_frame


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, b"\x00"),
        (125, b"\x7d"),
        (126, b"\x7e\x00\x7e"),
        (65535, b"\x7e\xff\xff"),
        (65536, b"\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_lengths(length: int, head: bytes) -> None:
    """Each length is written in its shortest form, without a mask."""
    assert encode_frame(TEXT, b"x" * length) == b"\x81" + head + b"x" * length
    assert encode_frame(BINARY, b"x" * length) == b"\x82" + head + b"x" * length
