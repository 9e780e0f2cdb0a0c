"""What the connections of an endpoint have in common: its settings, and what they take from each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.base.bounds import Budget
from happy.base.pace import Pace
from happy.wire.engineio import EngineSettings

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


Headers = Sequence[tuple[bytes, bytes]]
"""Names and values of response headers."""

_log = Logger()


def _log_failure(what: str, error: Exception) -> None:
    _log.failure("The handler of {what} failed", Failure(error), what=what)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings(EngineSettings):
    """Everything about an endpoint that may differ, in seconds and bytes (realtime.md A.1, D-21)."""

    path: str = "/socket.io/"
    """Prefix of the request targets served, with its slash; the path without it is served too."""

    sid_prefix: str = ""
    """What the ids of sessions begin with, so that proxies can tell whose they are."""

    elsewhere: Callable[[Any, str], bool] = lambda request, sid: False
    """Asked about a request whose session is not here, and its id: whether it answers."""

    connect_timeout: float = 20.0
    """How long a connection may stay without joining a namespace."""

    max_queued_bytes: int = 16 * 1024 * 1024
    """A client for which more than this is unsent is dropped."""

    memory: Budget | None = None
    """Where everything that is kept for clients counts; without it, in a budget of ``max_memory``."""

    max_memory: int = 256 * 1024 * 1024

    pace: Pace | None = None
    """How the reactor's time is shared, where the reactor itself tells of its turns."""

    session_bytes: int = 16 * 1024
    """What a connection counts as that is in no namespace, or on polling: twice what it needs, since anybody
    can open any number of these."""

    slow_reader_seconds: float = 60.0
    """A WebSocket client that takes nothing of what waits for it for so long is dropped."""

    dropped: Callable[[str], None] = lambda reason: None
    """Told of every client that is dropped, for the ``size`` of what waits for it, for the ``time`` it takes
    nothing, or because there was no more room in the ``crowd``."""

    failed: Callable[[], None] = lambda: None
    """Told of every client that is dropped because of a fault of ours."""

    handler_failed: Callable[[str, Exception], None] = _log_failure
    """Told of every exception that a method of the program raised, and which one it was. By default it is
    logged with its traceback; a program whose exceptions may hold what clients sent tells less."""

    fast_frames: bool = True
    """Whether whole text frames bypass Autobahn's frame parser; the behaviour is the same."""

    close_timeout: float = 5.0
    """How long a closing connection may take before it is cut."""

    kept_headers: Collection[str] = ()
    """Lower-case names of the request headers that handshakes keep, for as long as the connection lives."""

    keep_address: bool = True
    """Whether handshakes keep the address of the client."""

    headers: Callable[[bytes], Headers] = lambda origin: ()
    """More headers for the answer to a request with that ``Origin`` (empty if it has none): to every one on
    polling, and to an opening handshake. Which web pages may ask (CORS) is decided here."""

    preflight_headers: Headers = ()
    """Yet more headers for the answer to OPTIONS."""


class Shared:
    """What is kept for the clients of an endpoint, by owner, and for how long they are served in a turn."""

    log = Logger()

    def __init__(self, settings: EndpointSettings, clock: IReactorTime) -> None:
        self.session_bytes = settings.session_bytes
        self.memory = settings.memory or Budget(settings.max_memory)
        self.pace = settings.pace or Pace(clock)
        self._settings = settings

    def failed(self, error: BaseException) -> None:
        """What a client sent met a fault of ours; nothing of what it was gets into the log."""
        self._settings.failed()
        self.log.error("What a client sent met a fault: {error}", error=type(error).__name__)
