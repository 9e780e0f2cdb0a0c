"""When workers are replaced, and by what, on a clock of the test's."""

from __future__ import annotations

import signal
from errno import EAGAIN
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from happy.base.errors import StartupError
from happy.service.place import WorkerPlace
from happy.settings.loading import load
from happy.workers.pool import LONG_LIFE, Spare, Worker, WorkerPool
from happy.workers.process import WorkerProcess
from happy.workers.talk import Brief
from happy.workers.watch import LOOK_SECONDS, MOST_SILENT


class Process:
    """What a pool sees of a process."""

    def __init__(self) -> None:
        self.serving: Deferred[None] = Deferred()
        self.ended: Deferred[str] = Deferred()
        self.running = True
        self.pid = id(self)
        self.brief: Brief | None = None
        self.speaks = True

    def has_spoken(self) -> bool:
        return self.speaks

    def assign(self, brief: Brief) -> None:
        self.brief = brief

    def send(self, number: signal.Signals) -> None:
        self.end()

    def end(self) -> None:
        self.running = False
        if not self.serving.called:
            self.serving.errback(RuntimeError("it ended"))
        self.ended.callback("signal 9")


class PoolTests(SynchronousTestCase):
    """One worker and the spare; ``made`` are all processes, in order."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.made: list[Process] = []
        self.spare = Spare(self)  # type: ignore[arg-type]
        brief = Brief(load({}, {}), WorkerPlace(1, self.mktemp()))  # type: ignore[arg-type]
        self.worker = Worker(self.clock, brief, self.spare, lambda: None)
        self.pool = WorkerPool(self.clock, [self.worker], self.spare)
        started = Deferred.fromCoroutine(self.pool.start())
        self.made[0].serving.callback(None)
        self.successResultOf(started)

    full = False

    def spawn(self) -> Any:
        """As :class:`happy.workers.process.Spawning` does."""
        if self.full:
            raise OSError(EAGAIN, "Resource temporarily unavailable")
        self.made.append(Process())
        return self.made[-1]

    def assigned(self) -> list[bool]:
        """Which of the processes were told what they are."""
        return [process.brief is not None for process in self.made]

    def end(self, process: Process) -> None:
        """One ends, and the reactor turns."""
        process.end()
        self.clock.advance(0)

    def test_spare(self) -> None:
        """Whoever serves is followed by a process in reserve, which takes its place at once."""
        self.assertEqual(self.assigned(), [True, False])
        self.clock.advance(LONG_LIFE)
        self.end(self.made[0])
        self.assertEqual(self.assigned(), [True, True])
        self.made[1].serving.callback(None)
        self.assertEqual(self.assigned(), [True, True, False])
        briefs = [process.brief for process in self.made[:2]]
        self.assertEqual([brief and brief.place.replaces for brief in briefs], [False, True])

    def test_again_and_again(self) -> None:
        """A worker that served for a while is replaced at once, however often that happens."""
        for times in range(1, 10):
            self.clock.advance(LONG_LIFE)
            self.end(self.made[times - 1])
            self.assertEqual(len([one for one in self.assigned() if one]), times + 1)
            self.made[times].serving.callback(None)

    def test_before_the_spare_is_there(self) -> None:
        """A process that has died in reserve is not waited for."""
        self.made[1].end()
        self.clock.advance(LONG_LIFE)
        self.end(self.made[0])
        self.assertEqual(self.assigned(), [True, False, True])

    def test_failing_starts(self) -> None:
        """Who does not get to serving is tried later and later, until one does."""
        self.clock.advance(LONG_LIFE)
        self.end(self.made[0])
        pauses = []
        for _ in range(7):
            before = self.clock.seconds()
            dying = next(one for one in reversed(self.made) if one.brief is not None)
            dying.end()
            while dying is next(one for one in reversed(self.made) if one.brief is not None):
                self.clock.advance(0.5)
            pauses.append(self.clock.seconds() - before)
        self.assertEqual(pauses, [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0])
        serving = next(one for one in reversed(self.made) if one.brief is not None)
        serving.serving.callback(None)
        self.clock.advance(LONG_LIFE)
        self.end(serving)
        assert self.made[-1].brief is not None and self.made[0].brief is not None
        self.assertEqual(self.made[-1].brief.place.folder, self.made[0].brief.place.folder)

    def test_no_room_for_a_process(self) -> None:
        """A system that makes none now is asked again, and whoever serves goes on without one in reserve."""
        self.clock.advance(LONG_LIFE)
        self.full = True
        self.end(self.made[0])
        self.made[1].serving.callback(None)
        self.clock.advance(LONG_LIFE)
        self.end(self.made[1])
        self.clock.advance(5)
        self.assertEqual(self.assigned(), [True, True])
        self.full = False
        self.clock.advance(10)
        self.made[2].serving.callback(None)
        self.assertEqual(self.assigned(), [True, True, True, False])

    def test_no_room_at_the_start(self) -> None:
        """A start says that in a line."""
        self.full = True
        another = Worker(self.clock, self.made[0].brief, Spare(self), lambda: None)  # type: ignore[arg-type]
        failed = self.failureResultOf(Deferred.fromCoroutine(another.start()), StartupError)
        self.assertEqual(str(failed.value), "w1 cannot be started: Resource temporarily unavailable")

    def looks(self, times: int) -> None:
        """So many seconds pass."""
        self.clock.pump([LOOK_SECONDS] * times)

    def test_hanging(self) -> None:
        """Who says nothing any more is killed, but not too early, and replaced by one that is let be."""
        self.looks(2 * MOST_SILENT)
        self.made[0].speaks = False
        self.looks(MOST_SILENT - 1)
        self.assertEqual(self.assigned(), [True, False])
        self.made[0].speaks = True
        self.looks(1)
        self.made[0].speaks = False
        self.looks(MOST_SILENT - 1)
        self.assertTrue(self.made[0].running)
        self.looks(1)
        self.assertFalse(self.made[0].running)
        self.clock.advance(0)
        self.assertEqual(self.assigned(), [True, True])

    def test_slow_starts(self) -> None:
        """Who does not serve yet is not taken to hang, however long that takes."""
        self.looks(1)
        self.end(self.made[0])
        self.made[1].speaks = False
        self.looks(5 * MOST_SILENT)
        self.assertTrue(self.made[1].running)
        self.made[1].serving.callback(None)
        self.looks(MOST_SILENT - 1)
        self.assertTrue(self.made[1].running)

    def test_suspended(self) -> None:
        """Time in which the parent had no turn either says nothing of a worker."""
        self.made[0].speaks = False
        for _ in range(5 * MOST_SILENT):
            self.clock.advance(2 * LOOK_SECONDS)
        self.assertTrue(self.made[0].running)

    def test_stopping_takes_long(self) -> None:
        """Who is to stop has the time that it was given."""
        self.made[0].speaks = False
        self.patch(self.made[0], "send", lambda number: None)
        stopping = Deferred.fromCoroutine(self.pool.stop(100.0))
        self.looks(2 * MOST_SILENT)
        self.assertNoResult(stopping)
        self.made[0].end()
        self.successResultOf(stopping)

    def test_stop(self) -> None:
        """Nothing is made any more, and nothing is left."""
        self.successResultOf(Deferred.fromCoroutine(self.pool.stop(5.0)))
        self.assertEqual([process.running for process in self.made], [False, False])


class LastWordsTests(SynchronousTestCase):
    """A process that ends while it loads."""

    def test_last_words(self) -> None:
        """Its end is told with the last line that it printed, which says why; few others get into the log."""
        process = WorkerProcess(lambda logged: None)
        text = b"Traceback:\n" + b"  a place\n" * 20 + b"ImportError: no module\n"
        process.childDataReceived(2, text)
        process.processEnded(Failure(ProcessTerminated(1)))
        self.assertEqual(
            str(self.failureResultOf(process.serving, RuntimeError).value),
            "the spare worker ended with status 1: ImportError: no module",
        )
