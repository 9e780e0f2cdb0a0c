"""Every way to take a mask off against the definition."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.socketio import unmasking as masks
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


def test_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extension does the long payloads, and what it does costs no memory for every length there is."""
    assert masks._unmask_long is not unmask_by_integer
    monkeypatch.setattr(masks, "_unmask_long", lambda data, start, end: b"compiled")
    assert [unmask(bytes(4 + size), 4, 4 + size) == b"compiled" for size in (255, 256)] == [False, True]


def test_bounded_repetitions() -> None:
    """How to repeat a mask is kept for short payloads alone."""
    masks._repetition.cache_clear()
    for words, kept in ((1025, 0), (1024, 1)):
        unmask_by_integer(bytes(4 + words * 4), 4, 4 + words * 4)
        assert masks._repetition.cache_info().currsize == kept
