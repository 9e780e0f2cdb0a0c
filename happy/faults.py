"""What may be said in the log about an unexpected error.

Messages of exceptions carry what clients sent: a database driver quotes the row it refuses, a decoder the
text it stumbled over. So the log gets the exception's type, where it was raised, and the SQLSTATE.
"""

from __future__ import annotations

import traceback

_DEEPEST = 8


def describe_fault(error: BaseException) -> str:
    """The type of an exception, its SQLSTATE if it has one, and the innermost calls, innermost first."""
    named = type(error).__qualname__
    sqlstate = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if sqlstate:
        named = f"{named} {sqlstate}"
    frames = traceback.extract_tb(error.__traceback__)[-_DEEPEST:]
    calls = [f"{_module(frame.filename)}:{frame.lineno} {frame.name}" for frame in reversed(frames)]
    return " < ".join([named, *calls])


def _module(filename: str) -> str:
    """The last two parts of a path: enough to find the file, nothing about the machine."""
    return "/".join(filename.replace("\\", "/").split("/")[-2:])
