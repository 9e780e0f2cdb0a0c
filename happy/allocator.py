"""What the C library does with memory that is freed.

glibc takes large blocks from the system one by one, and gives each back when it is freed. But each one raises
the size from which on a block counts as large, up to 32 MiB. After the first large answer the next ones are
cut out of the heap, where a single small block above keeps all that is below: a hundred answers of a mebibyte
stay for ever. Naming the sizes ends that. Where there is no glibc, nothing happens.
"""

from __future__ import annotations

import ctypes
from typing import Final

LARGE: Final = 128 * 1024
"""Bytes of a block that is given back as soon as it is freed; what glibc begins with."""

SPARE: Final = 16 * 1024 * 1024
"""Bytes at the end of the heap that may stay: giving them back and taking them again costs time."""

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3


def give_back_large_blocks() -> bool:
    """Let large blocks go back to the system when they are freed; False where one cannot say so."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, LARGE) and mallopt(_TRIM_THRESHOLD, SPARE))
