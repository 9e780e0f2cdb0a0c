"""What was written to a connection and is not taken: by the system, or by the other side.

A system keeps megabytes for a connection, and asks for more only when a good part of them is gone: with a
slow client that takes minutes, in which a program that looks at its own buffers sees nothing happen.
"""

from __future__ import annotations

import struct
from typing import Any

try:
    from fcntl import ioctl
    from termios import TIOCOUTQ
except ImportError:  # A system that does not tell.
    ioctl = None  # type: ignore[assignment]


def unsent(transport: Any) -> int:
    """Bytes that were written to a transport, and that the system has not taken yet; 0 if nobody can tell."""
    below = lowest(transport)
    waiting = len(getattr(below, "dataBuffer", b"")) - getattr(below, "offset", 0)
    return int(waiting + getattr(below, "_tempDataLen", 0))


def untaken(transport: Any) -> int:
    """Bytes that the system has, and the other side has not acknowledged yet; 0 if nobody can tell."""
    try:
        found: int = struct.unpack("i", ioctl(lowest(transport).fileno(), TIOCOUTQ, bytes(4)))[0]
    except (AttributeError, OSError, TypeError, ValueError):
        return 0
    return found


def lowest(transport: Any) -> Any:
    """What is below TLS."""
    while (below := getattr(transport, "transport", None)) is not None:
        transport = below
    return transport
