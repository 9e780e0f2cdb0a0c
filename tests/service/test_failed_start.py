"""What a service makes of a start that does not succeed."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from happy import tap
from happy.base.errors import DatabaseDown, Overloaded, QueryFailed, StartupError
from happy.logs.bounded import BoundedLog
from happy.metrics import Metrics


class Unheard:
    """Nobody waits for the start."""

    has_the_log = False

    def serves(self) -> None:
        """That is not told."""

    def fails(self, reason: str) -> None:
        """Nor is that."""


class FailedStartTests(SynchronousTestCase):
    """A start that was broken off."""

    def failed(self, *, stopping: bool, error: Exception | None = None) -> tuple[list[int], list[str]]:
        """What the process, and the reactor, are told when something in the start is cancelled, or fails."""
        statuses: list[int] = []
        stops: list[str] = []
        self.patch(tap, "exit_with", statuses.append)
        self.patch(tap, "_end_in_time", lambda: None)
        reactor: Any = MemoryReactorClock()
        reactor.stop = lambda: stops.append("stop")
        parts: Any = None  # nothing was started
        service = tap.HappyService(parts, reactor, BoundedLog("info"), Metrics(), Unheard())
        service.running = not stopping
        service._failed(Failure(error or CancelledError()))
        return statuses, stops

    def test_by_a_stop(self) -> None:
        """A start that a stop ends is no failure."""
        self.assertEqual(self.failed(stopping=True), ([], []))
        self.assertEqual(
            self.failed(stopping=True, error=Overloaded("the database is being closed")), ([], [])
        )

    def test_by_itself(self) -> None:
        """A start in which something is cancelled for another reason ends the process, and says so."""
        self.assertEqual(self.failed(stopping=False), ([1], ["stop"]))

    def test_why(self) -> None:
        """What the system refuses is told in its words, without a piece of the program."""
        self.assertEqual(tap._told(StartupError("no")), "no")
        self.assertEqual(tap._told(PermissionError(13, "Permission denied", "/a")), "/a: Permission denied")
        self.assertEqual(tap._told(OSError(28, "No space left on device")), "No space left on device")
        self.assertEqual(tap._told(ValueError("secret")), "ValueError")

    def test_why_the_database(self) -> None:
        """What the database refuses is told with its reason."""
        down = DatabaseDown("no connection to PostgreSQL: FATAL:  too many connections")
        told = tap._told(down)
        self.assertEqual(told, f"the database cannot be used: {down}")
        told = tap._told(QueryFailed("25006"))
        self.assertRegex(told, "^the database cannot be used: .* 25006, it takes no changes, as a standby")
