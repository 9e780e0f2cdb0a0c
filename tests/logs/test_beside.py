"""What is said beside Twisted's log."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator

import pytest
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from happy.logs.beside import listen_beside, log_the_end
from happy.logs.bounded import BoundedLog

SECRET = "what only the client knows"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Fills with what is logged, while everything that is said beside is listened to."""
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    texts: list[str] = []

    def observe(event: LogEvent) -> None:
        texts.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
    listen_beside()
    log_the_end()
    yield texts
    globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]


class Finalised:
    """Fails where nobody can catch it."""

    def __del__(self) -> None:
        raise ValueError(SECRET)


def test_finaliser(said: list[str]) -> None:
    """An error that nobody can catch is logged by its type and place."""
    thing = Finalised()
    del thing
    (text,) = said
    assert "ValueError < logs/test_beside.py:" in text
    assert SECRET not in text


def test_thread(said: list[str]) -> None:
    """So is the error that ends a thread."""

    def fail() -> None:
        raise ValueError(SECRET)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    (text,) = said
    assert "ValueError < logs/test_beside.py:" in text
    assert SECRET not in text


def test_logging(said: list[str]) -> None:
    """Of what a library tells ``logging`` the place is logged, from warnings on."""
    library = logging.getLogger("a.library")
    library.info("Connecting to %s", SECRET)
    library.warning(f"Retrying {SECRET}")
    (text,) = said
    assert "logs/test_beside.py:" in text
    assert SECRET not in text


@pytest.mark.parametrize(("discreet", "ending"), [(False, f"ValueError: {SECRET}"), (True, "ValueError")])
def test_the_end(said: list[str], discreet: bool, ending: str) -> None:
    """The error that ends the process is one message; what it says is in it until a client can be heard."""
    log = BoundedLog()
    log.discreet = discreet
    written: list[str] = []
    log.observers = [lambda event: written.append(formatEvent(event))]
    globalLogPublisher.addObserver(log)
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    finally:
        globalLogPublisher.removeObserver(log)
    (text,) = written
    assert text.startswith("An unexpected error ends the process\nTraceback")
    assert "test_beside.py" in text
    assert text.splitlines()[-1] == ending
