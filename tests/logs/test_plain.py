"""What of an event may be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogPublisher
from twisted.python import log as former
from twisted.python.failure import Failure

from happy.logs.plain import LONGEST, LONGEST_TRACE, is_idle, printable, subject_of, summary_of, text_of
from tests.logs.events import logged

SECRET = "what only the client knows"


def raised(depth: int = 0, words: str = SECRET) -> Failure:
    """A failure that quotes a client, raised so deep."""
    try:
        _descend(depth, words)
    except ValueError:
        return Failure()
    raise AssertionError


def _descend(depth: int, words: str) -> None:
    if depth:
        _descend(depth - 1, words)
    else:
        try:
            {}[SECRET]
        except KeyError as error:
            raise ValueError(words) from error


def test_our_words() -> None:
    """A message of ours is written with its values."""
    event = logged("happy.web", lambda log: log.warn("{room} connections are open", room=3))
    assert text_of(event) == "3 connections are open"
    assert subject_of(event)[:3] == ("happy.web", "warn", "{room} connections are open")


@pytest.mark.parametrize("say", [Logger.debug, Logger.info, Logger.warn, Logger.error, Logger.critical])
def test_others_words(say: Callable[..., None]) -> None:
    """Of a library's message the format is written, at every level, with names in the place of values."""
    event = logged("twisted.web.http", lambda log: say(log, "Timing out {peer.host!r}", peer=SECRET))
    assert text_of(event) == "Timing out {peer.host!r}"
    assert SECRET not in "".join(subject_of(event)[:3])


def test_trusted() -> None:
    """Before a client can be heard, a library's message is written as it is."""
    event = logged("twisted.scripts", lambda log: log.info("twistd {version}", version="26"))
    assert text_of(event, trusted=True) == "twistd 26"


def test_former_way() -> None:
    """What is said in Twisted's former way, or printed, is a text that may hold anything: it is left out."""
    for event in (logged("", lambda _: former.msg(SECRET)), logged("stdout", _print)):
        assert SECRET not in text_of(event)
        assert is_idle(event)
    assert not is_idle(logged("", lambda _: former.err(SECRET)))


def _print(log: Logger) -> None:
    log.info("{log_io}", log_io=SECRET)


def test_warnings() -> None:
    """Of Python's warnings the place is written and the kind, without the text."""

    def warn(log: Logger) -> None:
        former.showwarning(SECRET, UserWarning, "/home/anne/happy/web/site.py", 7)  # type: ignore[call-arg]

    text = text_of(logged("", warn))
    assert text == "web/site.py:7: builtins.UserWarning: {warning}"


@pytest.mark.parametrize(
    "report",
    [
        lambda log, failure: log.failure("Reading {what} failed", failure, what="it"),
        lambda log, failure: log.failure("", failure),
        lambda log, failure: former.err(failure, SECRET),
        lambda log, failure: former.err(failure),
    ],
)
def test_failures(report: Callable[[Logger, Failure], None]) -> None:
    """Of a failure the types and the places in the code are written, also of what it came from."""
    failure = raised()
    event = logged("twisted.internet", lambda log: report(log, failure))
    text = text_of(event)
    assert SECRET not in text
    for part in (
        "\nTraceback, the latest",
        "KeyError\nwhich led to\n",
        "logs/test_plain.py:",
        "_descend\nValueError",
    ):
        assert part in text
    assert summary_of(event).startswith("ValueError at logs/test_plain.py:")
    subject = subject_of(event)
    assert subject.failed
    assert subject.what.startswith("ValueError at logs/test_plain.py:")


def test_failure_of_ours() -> None:
    """What we say about a failure precedes it."""
    event = logged("happy.x", lambda log: log.failure("Stopping {what} failed", raised(), what="it"))
    assert text_of(event).startswith("Stopping it failed\n")


def test_failure_without_its_traceback() -> None:
    """A failure that was cleaned still tells its place."""
    failure = raised()
    failure.cleanFailure()
    text = text_of(logged("twisted.internet", lambda log: log.failure("", failure)))
    assert "logs/test_plain.py:" in text
    assert SECRET not in text


def test_deep_failures() -> None:
    """However deep it was raised, a failure's beginning and end are short."""
    text = text_of(logged("twisted.internet", lambda log: log.failure("", raised(900))))
    assert len(text) < LONGEST + LONGEST_TRACE
    assert "... 8" in text
    assert text.endswith("ValueError")


def test_long_traceback() -> None:
    """Of a text that is too long the first line and the last ones are kept, and the reason with its cause."""
    for depth, words in (
        (0, SECRET),
        (900, SECRET),
        (900, f"{SECRET}{'.' * 9000}"),
        (900, SECRET + "\n." * 9000),
    ):
        failure = raised(depth, words)
        text = text_of(logged("twisted.internet", lambda log, it=failure: log.failure("", it)), trusted=True)
        assert len(text) < 3 * LONGEST + LONGEST_TRACE
        assert text.startswith("Unhandled error\nTraceback (most recent call last):\n")
        assert f"\nValueError: {SECRET}" in text
        assert "The above exception was the direct cause" in text


def test_faults_tell_apart() -> None:
    """Failures differ by type and place, whatever they quote; messages by their words, not by numbers."""

    def subject(**values: Any) -> object:
        return subject_of(logged("happy.x", lambda log: log.error("{what} took {seconds}", **values)))

    assert subject(what="a", seconds=1) == subject(what="a", seconds=2)
    assert subject(what="a", seconds=1) != subject(what="b", seconds=1)
    first = logged("x", lambda log: log.failure("", raised(0)))
    assert subject_of(first) == subject_of(logged("x", lambda log: log.failure("", raised(1))))


def test_unprintable() -> None:
    """Nobody forges a line, speaks to a terminal, or makes a text that cannot be encoded."""
    assert printable("plain, plän\n\tand more") == "plain, plän\n\tand more"
    assert printable("\x1b[2J\r\udc80\u202e\u2028") == "\\x1b[2J\\r\\udc80\\u202e\\u2028"


@given(st.text() | st.binary(), st.dictionaries(st.from_regex("[a-z_]{1,9}", fullmatch=True), st.text()))
def test_any_event(format: str | bytes, values: dict[str, str]) -> None:
    """Whatever is logged has a text that can be written, of bounded length."""
    publisher = LogPublisher()
    events: list[Any] = []
    publisher.addObserver(events.append)
    publisher({"log_format": format, "log_namespace": "library", **values})
    text = text_of(events[0])
    text.encode()
    assert len(text) <= 12 * LONGEST
    subject_of(events[0])
