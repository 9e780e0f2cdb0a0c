"""How a command ends that cannot do what it was asked for."""

from __future__ import annotations

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
