"""Answers that cost something, kept for a while, and asked for once however many want them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from happy.base.redaction import describe_fault
from happy.base.trouble import Trouble
from happy.base.waiting import relayed, within

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")

PATIENCE: Final = 3.0
"""Seconds that whoever asks waits for a new answer; it may come later, for whoever asks then."""


class Counted(Generic[T]):
    """The latest answer to a question that ``ask`` puts, renewed when it is older than ``seconds``.

    ``latest`` stays None until there is an answer. One that fails leaves the former one, and is logged.
    """

    def __init__(
        self, what: str, ask: Callable[[], Awaitable[T]], seconds: float, clock: IReactorTime
    ) -> None:
        self._ask = ask
        self._seconds = seconds
        self._clock = clock
        self._asked_at: float | None = None
        self._asking: Deferred[None] | None = None
        self._trouble = Trouble(Logger(), f"Counting {what}", clock)
        self.latest: T | None = None

    async def fresh(self, patience: float = PATIENCE) -> T | None:
        """The latest answer, after a new one has come or did not within so many seconds."""
        now = self._clock.seconds()
        if self._asking is None and (self._asked_at is None or now - self._asked_at >= self._seconds):
            self._asked_at = now
            asking = self._asking = Deferred.fromCoroutine(self._renew())
            asking.addBoth(self._renewed)
        if self._asking is not None:
            with suppress(TimeoutError):
                await within(patience, relayed(self._asking), self._clock)
        return self.latest

    async def _renew(self) -> None:
        try:
            self.latest = await self._ask()
        except Exception as error:
            self._trouble.again(describe_fault(error))
        else:
            self._trouble.over()

    def _renewed(self, _: object) -> None:
        self._asking = None
