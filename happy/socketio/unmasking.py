"""Taking the mask off a client's frame (RFC 6455 section 5.3).

Long payloads go through the compiled function that comes with Autobahn, where it was built; its Python
wrapper, which costs more than the work, is left out. Short ones, and all of them without it, are masked as
one large integer. What is used of the extension is what its declaration says (``nvx_xormask_new``,
``_process`` and ``_free``); ``tests/socketio/test_unmasking.py`` compares the ways.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

_LONG: Final = 256
"""From so many bytes on the compiled function is faster."""

_MOST_WORDS: Final = 1024
"""Up to how many 32-bit words of payload the way to repeat a mask is kept."""

Unmask = Callable[[bytes, int, int], bytes]
"""The payload between two positions of some data; its mask is in the four bytes before it."""


def unmask_by_integer(data: bytes, start: int, end: int) -> bytes:
    """An :data:`Unmask` of nothing but Python."""
    length = end - start
    words = (length + 3) >> 2
    repeat = _repetition(words) if words <= _MOST_WORDS else _repeat(words)
    mask = int.from_bytes(data[start - 4 : start], "little") * repeat
    plain = int.from_bytes(data[start:end], "little") ^ mask
    return plain.to_bytes(words * 4, "little")[:length]


def _repeat(words: int) -> int:
    """What repeats a word so many times by multiplication."""
    return int.from_bytes(b"\1\0\0\0" * words, "little")


_repetition: Final = lru_cache(_MOST_WORDS)(_repeat)


def compiled_unmask() -> Unmask | None:
    """An :data:`Unmask` that is fast for long payloads; None where the extension is missing."""
    try:
        import _nvx_xormasker as extension  # type: ignore[import-not-found]
    except ImportError:
        return None
    view: Any = extension.ffi.from_buffer
    new, process, free = (
        getattr(extension.lib, f"nvx_xormask_{name}") for name in ("new", "process", "free")
    )

    def unmask(data: bytes, start: int, end: int) -> bytes:
        payload = bytearray(data[start:end])
        masker = new(data[start - 4 : start])
        process(masker, view(payload), end - start)
        free(masker)
        return bytes(payload)

    return unmask


_unmask_long: Final = compiled_unmask() or unmask_by_integer


def unmask(data: bytes, start: int, end: int) -> bytes:
    """The :data:`Unmask` that suits the length."""
    return (_unmask_long if end - start >= _LONG else unmask_by_integer)(data, start, end)
