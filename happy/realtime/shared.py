"""What the connections of an endpoint have in common: its settings, and what they take from each other."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from happy.bounds import Budget
from happy.realtime.pace import Pace
from happy.wire.engineio import EngineSettings

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

_ANY_NUMBER: Final = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeSettings(EngineSettings):
    """Everything about an endpoint that may differ, in seconds and bytes (realtime.md A.1, D-21)."""

    path: str = "/v1/updates/"
    """Prefix of the request targets served, with its slash; the path without it is served too."""

    connect_timeout: float = 20.0
    """How long a connection may stay without joining a namespace."""

    max_queued_bytes: int = 16 * 1024 * 1024
    """A client for which more than this is unsent is dropped."""

    memory: Budget | None = None
    """Where everything that is kept for clients counts; without it, in a budget of ``max_memory``."""

    max_memory: int = 256 * 1024 * 1024

    pace: Pace | None = None
    """How the reactor's time is shared, where the reactor itself tells of its turns."""

    max_strangers: int = 10_000
    """Connections on which no namespace was joined yet, half of them from one address at most. When there
    are as many, the address with most of them loses its oldest."""

    max_polling: int = 20_000
    """Sessions on polling that have joined, half of them of one owner at most. When there are as many, the
    owner of most of them loses its oldest."""

    max_of_owner: int = 2_000
    """Connections of one owner that have joined, by transport: all of them are told what one is told."""

    slow_reader_seconds: float = 60.0
    """A WebSocket client that takes nothing of what waits for it for so long is dropped."""

    dropped: Callable[[str], None] = lambda reason: None
    """Told of every client that is dropped, for the ``size`` of what waits for it, for the ``time`` it takes
    nothing, or because there was no more room in the ``crowd``."""

    failed: Callable[[], None] = lambda: None
    """Told of every client that is dropped because of a fault of ours."""

    fast_frames: bool = True
    """Whether whole text frames bypass Autobahn's frame parser; the behaviour is the same."""

    close_timeout: float = 5.0
    """How long a closing connection may take before it is cut."""

    kept_headers: Collection[str] = ("x-happy-client",)
    """Lower-case names of the request headers that handshakes keep, for as long as the connection lives."""


class Shared:
    """The budgets of an endpoint, by owner, and its pace.

    ``memory`` is bytes. The others are places, of which each connection has one: among ``strangers`` until
    it has joined a namespace, then among those on ``polling`` or the ``websockets``.
    """

    log = Logger()

    def __init__(self, settings: RealtimeSettings, clock: IReactorTime) -> None:
        self.memory = settings.memory or Budget(settings.max_memory)
        self.pace = settings.pace or Pace(clock)
        self.strangers = Budget(settings.max_strangers)
        most = settings.max_of_owner
        self.polling = Budget(settings.max_polling, share=min(most, settings.max_polling // 2))
        self.websockets = Budget(_ANY_NUMBER, share=most)
        self._noted = settings.failed

    def failed(self, error: BaseException) -> None:
        """What a client sent met a fault of ours; nothing of what it was gets into the log."""
        self._noted()
        self.log.error("What a client sent met a fault: {error}", error=type(error).__name__)
