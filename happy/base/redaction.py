"""What may be said in the log about an unexpected error.

Messages of exceptions carry what clients sent: a database driver quotes the row it refuses, a decoder the
text it stumbled over. So the log gets the exception's type, where it was raised, and the SQLSTATE: names and
places of code, and nothing that was a value.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from itertools import islice
from types import TracebackType

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_DEEPEST = 8
_OUTERMOST = 8
_INNERMOST = 24
_CAUSES = 4


def describe_fault(error: BaseException) -> str:
    """The type of an exception, its SQLSTATE if it has one, and the innermost calls, innermost first."""
    calls = deque(_calls(error.__traceback__), _DEEPEST)
    return " < ".join([_named(error), *map(_place, reversed(calls))])


def name_fault(error: BaseException, traceback: TracebackType | None) -> str:
    """What tells one fault from another: the type, and the innermost place in our own code, if there is one.

    ``traceback`` is the exception's, which it may have lost.
    """
    innermost = ours = None
    for call in _calls(traceback):
        innermost = call
        if call.tb_frame.f_code.co_filename.startswith(_OURS):
            ours = call
    found = ours or innermost
    return _named(error) if found is None else f"{_named(error)} at {_place(found)}"


def trace_fault(error: BaseException, traceback: TracebackType | None) -> str:
    """As Python prints a traceback, the latest call last, without any message.

    What the exception came from precedes it. At most so many calls of each are named, so that a deep
    recursion is no long text. ``traceback`` is as in :func:`name_fault`.
    """
    lines = _trace(error, traceback)
    for _ in range(_CAUSES):
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None:
            break
        lines = [*_trace(cause, cause.__traceback__), "which led to", *lines]
        error = cause
    return "\n".join(["Traceback, the latest call last:", *lines])


def _trace(error: BaseException, traceback: TracebackType | None) -> list[str]:
    """The places of an exception, and its name; of a deep recursion the beginning and the end."""
    calls = _calls(traceback)
    first = list(islice(calls, _OUTERMOST))
    last: deque[TracebackType] = deque(maxlen=_INNERMOST)
    between = -_INNERMOST
    for call in calls:
        last.append(call)
        between += 1
    gap = [f"... {between} more"] if between > 0 else []
    return [*map(_place, first), *gap, *map(_place, last), _named(error)]


def _calls(traceback: TracebackType | None) -> Iterator[TracebackType]:
    """The calls that an exception passed through, outermost first."""
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _named(error: BaseException) -> str:
    named = type(error).__qualname__
    sqlstate = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return f"{named} {sqlstate}" if sqlstate else named


def _place(call: TracebackType) -> str:
    """Where a call is: the last two parts of the path find the file, and tell nothing about the machine."""
    code = call.tb_frame.f_code
    module = "/".join(code.co_filename.replace("\\", "/").split("/")[-2:])
    return f"{module}:{call.tb_lineno} {code.co_name}"
