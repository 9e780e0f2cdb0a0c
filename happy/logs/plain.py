"""What of an event may be written: our own words as they are, of everybody else only what is in the code.

Our own messages are composed of what is safe to say. Libraries quote what they got: Twisted and Autobahn
name the peer's address, exceptions the text they stumbled over. Of their messages the format is written,
of failures what :mod:`happy.base.redaction` tells.
"""

from __future__ import annotations

from traceback import format_exception, format_exception_only
from typing import Any, Final, NamedTuple

from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure

from happy.base.redaction import name_fault, trace_fault

LONGEST: Final = 1000
"""Characters of a message."""

FACTS: Final = ("event", "account", "what", "name", "reason", "count", "closed", "seconds", "cause", "place")
"""Values of named events that stand beside the text where there is a place for them."""

LONGEST_TRACE: Final = 4000
"""Characters of a traceback's calls; of a longer one the end is kept, which says where it happened."""

LONGEST_SUMMARY: Final = 200
"""Characters of what is told of messages that are left out."""

_OURS: Final = "happy."
_VARYING: Final = frozenset({"line", "platform", "text", "timestamp"})
"""Values of our own messages of which no two are alike; with all others there are only so many messages."""

_FAULTS: Final = ("fault", "error")
"""Values of our own messages that say what has failed, as :mod:`happy.base.redaction` tells it."""

_SHOWN: Final = ("filename", "lineno", "category")
"""Values of libraries' messages that are about code: of Python's warnings."""

_NAMELESS: Final = "Unhandled error"
_LEFT_OUT: Final = {
    "{log_text}": "what a library says in Twisted's former way is left out",
    "{log_io}": "what a library prints is left out",
    "Scheduling retry {attempt} to connect {endpoint} in {delay} seconds.": "connecting is tried again",
}


class Subject(NamedTuple):
    """What an event is about; events of one subject say the same, but for numbers and the like.

    ``what`` is safe to be written.
    """

    namespace: str
    level: str
    what: str
    failed: bool
    """Whether it is about a failure."""


def subject_of(event: LogEvent, *, trusted: bool = False) -> Subject:
    """What the event is about; of one that is ``trusted``, whatever it says is a subject of its own."""
    namespace = str(event.get("log_namespace", "-"))[:100]
    level = level_of(event).name
    failure = _failure(event)
    if failure is not None:
        return Subject(namespace, level, _named(failure)[:LONGEST], True)
    if not _is_ours(event):
        what = formatEvent(event)[:LONGEST] if trusted else _skeleton(event)
        return Subject(namespace, level, what, False)
    failed = any(name in event for name in _FAULTS)
    return Subject(namespace, level, _kind(event)[:LONGEST], failed)


def level_of(event: LogEvent) -> Any:
    """How grave the event is, as one of Twisted's constants."""
    return event.get("log_level") or LogLevel.info


def is_idle(event: LogEvent) -> bool:
    """Whether it is a library's message of no weight, of which nothing can be written."""
    return level_of(event) < LogLevel.warn and not _is_ours(event) and _format(event) in _LEFT_OUT


def text_of(event: LogEvent, *, trusted: bool = False) -> str:
    """The text of an event; of one that is ``trusted``, with all values whoever logged it."""
    message = formatEvent(event) if trusted or _is_ours(event) else _skeleton(event)
    failure = _failure(event)
    if failure is None:
        return printable(message[:LONGEST])
    header = message if message and "log_failure" in event else _NAMELESS
    traced = _printed(failure) if trusted else _shortened(_traced(failure))
    return f"{printable(header[:LONGEST])}\n{printable(traced)}"


def summary_of(event: LogEvent, *, trusted: bool = False) -> str:
    """What is told of an event that was left out: its text in short, or the name and place of its failure."""
    failure = _failure(event)
    text = text_of(event, trusted=trusted) if failure is None else printable(_named(failure))
    return text[:LONGEST_SUMMARY]


def facts_of(event: LogEvent) -> LogEvent:
    """The values of an event that has a name, which are safe to be written beside its text."""
    if "event" not in event or not _is_ours(event):
        return {}
    return {name: event[name] for name in FACTS if name in event}


def _shortened(traced: str) -> str:
    """The first line, and of the others as many of the last as there is room for."""
    if len(traced) <= LONGEST_TRACE:
        return traced
    first, last = traced[:LONGEST].partition("\n")[0], traced[-LONGEST_TRACE:].partition("\n")[2]
    return f"{first}\n...\n{last}"


def printable(text: str) -> str:
    """The text with escapes for what is not for eyes: nobody may speak to a terminal."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text
    )


def _is_ours(event: LogEvent) -> bool:
    return str(event.get("log_namespace", "")).startswith(_OURS)


def _failure(event: LogEvent) -> Failure | None:
    """The failure that an event reports, in Twisted's present way or its former one."""
    found = event.get("log_failure") or event.get("failure")
    return found if isinstance(found, Failure) else None


def _named(failure: Failure) -> str:
    return name_fault(_error(failure), failure.getTracebackObject())


def _traced(failure: Failure) -> str:
    return trace_fault(_error(failure), failure.getTracebackObject())


def _printed(failure: Failure) -> str:
    """As Python prints it. Whatever has to be left out, the exception and what it says stay."""
    error = _error(failure)
    reason = "".join(format_exception_only(error))
    whole = "".join(format_exception(type(error), error, failure.getTracebackObject()))
    return _shortened(whole.removesuffix(reason)) + reason[:LONGEST].rstrip("\n")


def _error(failure: Failure) -> BaseException:
    """The exception; Twisted takes other things for failures too."""
    return failure.value if isinstance(failure.value, BaseException) else Exception()


def _format(event: LogEvent) -> str:
    format: Any = event.get("log_format") or ""
    return format.decode("utf-8", "replace") if isinstance(format, bytes) else str(format)


def _kind(event: LogEvent) -> str:
    """What a message of ours has in common with others: all but numbers, and what is never the same."""
    telling = (
        value
        for name, value in event.items()
        if isinstance(value, str) and not name.startswith("log_") and name not in _VARYING
    )
    return "; ".join([_format(event), *telling])


def _skeleton(event: LogEvent) -> str:
    """A message with the names of values instead of values; the rest stands in the code, and is no secret."""
    format = _format(event)
    text = _LEFT_OUT.get(format, format) or _NAMELESS
    for name in _SHOWN:
        if name in event:
            shown = "/".join(str(event[name]).split("/")[-2:])
            text = text.replace(f"{{{name}}}", shown)
    return text[:LONGEST]
