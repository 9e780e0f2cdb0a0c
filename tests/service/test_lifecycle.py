"""Stopping in order, with steps that fail, and steps that do not end."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from happy.service.lifecycle import STOP_SECONDS, Lifecycle


class LifecycleTests(SynchronousTestCase):
    """On a clock of the test's own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.lifecycle = Lifecycle(self.clock)
        self.begun: list[tuple[str, float]] = []
        """The steps of the stop, and when they began."""

    def started(self, what: str, share: float = 1.0, takes: float | None = 0.0) -> None:
        """A part whose stop takes so many seconds, or for ever."""

        def undo() -> Deferred[None]:
            self.begun.append((what, self.clock.seconds()))
            over: Deferred[None] = Deferred()
            if takes is not None:
                self.clock.callLater(takes, over.callback, None)
            return over

        self.lifecycle.started(what, undo, share)

    def stop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.lifecycle.stop())

    def time_of_stop(self) -> float:
        """How long a stop takes."""
        begun, stopping = self.clock.seconds(), self.stop()
        while not stopping.called:
            self.clock.advance(0.01)
        return self.clock.seconds() - begun

    async def starting(self, last: Deferred[None]) -> None:
        """A start of two parts, the second of which is there when ``last`` has fired."""
        self.started("database", takes=1.0)
        await last
        self.started("port")

    def test_start(self) -> None:
        """A start tells how long it took, and what it started runs on."""
        last: Deferred[None] = Deferred()
        start = Deferred.fromCoroutine(self.lifecycle.start(self.starting(last)))
        self.clock.advance(1.5)
        last.callback(None)
        self.assertEqual((self.successResultOf(start), self.begun), (1.5, []))

    def test_start_that_fails(self) -> None:
        """What runs already is stopped before the reason is told."""
        last: Deferred[None] = Deferred()
        start = Deferred.fromCoroutine(self.lifecycle.start(self.starting(last)))
        last.errback(KeyError())
        self.assertNoResult(start)
        self.clock.advance(1.0)
        self.failureResultOf(start, KeyError)
        self.assertEqual([what for what, _ in self.begun], ["database"])

    def test_stop_of_a_start(self) -> None:
        """A stop ends a start under way, and what that had started."""
        start = Deferred.fromCoroutine(self.lifecycle.start(self.starting(Deferred())))
        stop = self.stop()
        self.clock.advance(1.0)
        self.successResultOf(stop)
        self.failureResultOf(start, CancelledError)
        self.assertEqual([what for what, _ in self.begun], ["database"])

    def test_reverse_order(self) -> None:
        """What was started last is stopped first, and each step waits for the one before it."""
        for what in ("database", "sockets", "port"):
            self.started(what, takes=0.5)
        self.time_of_stop()
        self.assertEqual([what for what, _ in self.begun], ["port", "sockets", "database"])
        for (_, earlier), (_, later) in zip(self.begun, self.begun[1:], strict=False):
            self.assertApproximates(later - earlier, 0.5, 0.02)

    def test_nothing_ends(self) -> None:
        """If not one step ends, each has its share and the whole is over in time."""
        shares = {"PostgreSQL": 3.5, "database": 1.0, "presence": 1.0, "sockets": 1.0, "requests": 4.0}
        for what, share in shares.items():
            self.started(what, share, takes=None)
        self.assertApproximates(self.time_of_stop(), STOP_SECONDS, 0.1)
        ends = [when for _, when in self.begun[1:]] + [STOP_SECONDS]
        for (what, begun), end in zip(self.begun, ends, strict=True):
            expected = shares[what] / sum(shares.values()) * STOP_SECONDS
            self.assertApproximates(end - begun, expected, 0.1)

    def test_however_many(self) -> None:
        """A server with many ports, none of which can be closed, stops in time, its database in order."""
        self.started("database", 1.0, takes=0.05)
        for number in range(100):
            self.started(f"port {number}", 0.5, takes=None)
        self.assertLess(self.time_of_stop(), STOP_SECONDS + 0.1)
        self.assertEqual(self.begun[-1][0], "database")

    def test_what_is_not_needed(self) -> None:
        """The last step gets all the time that the others left."""
        self.started("PostgreSQL", 3.5, takes=STOP_SECONDS - 0.5)
        for what in ("database", "sockets"):
            self.started(what, 5.0, takes=0.1)
        self.assertApproximates(self.time_of_stop(), STOP_SECONDS - 0.3, 0.1)

    def test_a_step_that_holds_everything_up(self) -> None:
        """A step that blocks past the end leaves no time to the others, which are begun all the same."""
        self.started("database", takes=None)
        self.lifecycle.started("blocking", lambda: self.clock.advance(STOP_SECONDS * 2), 1.0)
        stopping = self.stop()
        self.clock.advance(0)
        self.assertEqual([what for what, _ in self.begun], ["database"])
        self.assertTrue(stopping.called)
        self.assertEqual(self.lifecycle.left, 0)

    def test_failures(self) -> None:
        """A step that fails, at once or later, is logged and keeps no other from its turn."""
        self.started("database")

        def fail() -> None:
            raise ValueError

        async def fail_later() -> None:
            raise KeyError

        self.lifecycle.started("one", fail, 1.0)
        self.lifecycle.started("another", fail_later, 1.0)
        self.time_of_stop()
        self.assertEqual(len(self.flushLoggedErrors(ValueError, KeyError)), 2)
        self.assertEqual([what for what, _ in self.begun], ["database"])

    def test_twice(self) -> None:
        """A second stop waits for the first one, and for what was started meanwhile."""
        self.started("database", takes=1.0)
        first, second = self.stop(), self.stop()
        self.started("late", takes=1.0)
        self.assertEqual([first.called, second.called], [False, False])
        self.clock.pump([0.5] * 5)
        self.assertEqual([first.called, second.called], [True, True])
        self.assertEqual([what for what, _ in self.begun], ["database", "late"])

    def test_left(self) -> None:
        """A step can ask how much time there is until the end, and how much of that it has."""
        left: list[float] = []
        self.started("last", 3.0)
        self.lifecycle.started(
            "asking", lambda: left.extend((self.lifecycle.left, self.lifecycle.step_left)), 1.0
        )
        self.started("slow", 1.0, takes=1.0)
        self.time_of_stop()
        self.assertApproximates(left[0], STOP_SECONDS - 1.0, 0.1)
        self.assertApproximates(left[1], left[0] / 4, 0.1)
