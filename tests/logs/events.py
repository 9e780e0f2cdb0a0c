"""Events as Twisted makes them."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import LogEvent, Logger, globalLogPublisher


def logged(namespace: str, log: Callable[[Logger], None]) -> LogEvent:
    """The event that ``log`` causes, by a logger of the namespace or in Twisted's former way."""
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    try:
        log(Logger(namespace))
    finally:
        globalLogPublisher.removeObserver(events.append)
    (event,) = events
    return event
