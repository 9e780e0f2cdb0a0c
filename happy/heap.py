"""Giving memory that was freed back to the system."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


def trim() -> None:
    """Return what the C library keeps for later, in some milliseconds.

    The allocator of glibc keeps what lies between things that are still used, up to 32 MB at a time, so that
    after a few large requests a process would stay large for good. Others do not need this.
    """
    release = _malloc_trim()
    if release is not None:
        release(0)


@cache
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
