"""How a command ends that cannot do what it was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Final

FINE: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2
NOT_REACHABLE: Final = 3


class CommandFailed(Exception):
    """It did not work, or something wrong was found; the message is one plain line."""

    status: int = FAILED


class Misused(CommandFailed):
    """The command line, or a setting, is wrong."""

    status = WRONG_USAGE


class NotReachable(CommandFailed):
    """The server or its database is not there."""

    status = NOT_REACHABLE


class NotAllowed(NotReachable):
    """It may be there, for its owner and root."""


AS_OWNER: Final = "be root, or who runs the server"


def no_access(error: OSError, place: Path) -> NotReachable:
    """What to raise for a file of a server that cannot be used: ``place``, unless the error says which."""
    reason = f"{error.filename or place}: {error.strerror}"
    if isinstance(error, PermissionError):
        return NotAllowed(f"{reason}; {AS_OWNER}")
    return NotReachable(reason)
