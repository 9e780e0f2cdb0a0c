"""Trouble that may last, in a log that it must not fill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

REMINDER = 300.0
"""Seconds between two lines about trouble that lasts."""


class Trouble:
    """One kind of trouble: said when it begins, now and then while it lasts, and when it is over.

    ``what`` completes the sentence "... failed"; ``count`` is how often it has since trouble began.
    """

    def __init__(self, log: Logger, what: str, clock: IReactorTime) -> None:
        self._log = log
        self._what = what
        self._clock = clock
        self._said_at = 0.0
        self.count = 0

    def again(self, reason: str) -> None:
        """It failed, for a reason that may be logged."""
        self.count += 1
        if self.count > 1 and self._clock.seconds() - self._said_at < REMINDER:
            return
        self._said_at = self._clock.seconds()
        times = f" ({self.count} times so far)" if self.count > 1 else ""
        self._log.error(
            "{what} failed{times}: {reason}", what=self._what, times=times, reason=reason, count=self.count
        )

    def over(self) -> None:
        """It works, again if it did not before."""
        if self.count:
            self._log.info("{what} works again, after {count} failures", what=self._what, count=self.count)
            self.count = 0
