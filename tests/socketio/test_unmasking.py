"""Every way to take a mask off against the definition."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.socketio.unmasking import Unmask, compiled_unmask, unmask, unmask_by_integer

COMPILED = compiled_unmask()
LENGTHS = st.one_of(st.integers(0, 40), st.sampled_from([125, 126, 255, 256, 257, 4095, 4096, 4097, 65535]))


@pytest.mark.parametrize("way", [unmask, unmask_by_integer, COMPILED])
@given(st.binary(min_size=4, max_size=4), LENGTHS, st.binary(max_size=9))
def test_as_defined(way: Unmask, mask: bytes, length: int, before: bytes) -> None:
    """Octet i of the payload is combined with octet i modulo 4 of the mask; the data stays as it is."""
    plain = bytes(range(256)) * (length // 256) + bytes(range(length % 256))
    masked = bytes(octet ^ key for octet, key in zip(plain, itertools.cycle(mask), strict=False))
    data = before + mask + masked + b"more"
    copy = bytes(bytearray(data))
    start = len(before) + 4
    assert way(data, start, start + length) == plain
    assert data == copy


def test_compiled() -> None:
    """The extension that Autobahn is built with here has the functions that are called."""
    assert COMPILED is not None
