"""A worker's process, and what it tells its parent."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from happy.worker import Answering
from happy.workers.process import Spawning, WorkerProcess
from happy.workers.talk import ANSWERS, Alive, Logged, Serving, encode


class AnsweringTests(SynchronousTestCase):
    """What is told through a pipe that its reader leaves full for a while."""

    def test_torn(self) -> None:
        """A line that has no room to its end takes nothing along that comes after it."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        answering, heard = Answering(writing), list[Logged]()
        process = WorkerProcess(heard.append)
        long, short = Logged(1.0, "info", "n", "x" * 200_000), Logged(2.0, "info", "n", "short")
        answering.tell(long)
        with self.assertRaises(BlockingIOError):
            answering.tell(short)
        process.childDataReceived(ANSWERS, os.read(reading, 200_000))
        for answer in (short, Serving()):
            answering.tell(answer)
        process.childDataReceived(ANSWERS, os.read(reading, 200_000))
        self.assertEqual(heard, [short])
        self.successResultOf(process.serving)

    def test_alive(self) -> None:
        """What it says of itself counts until it is asked for; what it logs tells nothing."""
        process = WorkerProcess(lambda logged: None)
        process.childDataReceived(ANSWERS, b"".join(encode(Alive()) + b"\n" for _ in range(3)))
        self.assertEqual([process.has_spoken(), process.has_spoken()], [True, False])
        process.childDataReceived(ANSWERS, encode(Logged(1.0, "info", "n", "again and again")) + b"\n")
        self.assertFalse(process.has_spoken())


class SpareTests(TestCase):
    """A process that waits to be told what it is."""

    timeout = 60

    async def test_asked_to_open_files_again(self) -> None:
        """One that has none yet is not ended by that."""
        process = Spawning(reactor, [], lambda logged: None).spawn()
        process.serving.addErrback(lambda failure: failure.trap(RuntimeError) and None)
        hangup = 1 << (signal.SIGHUP - 1)
        while not _ignored(process.pid) & hangup:
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        process.send(signal.SIGHUP)
        process.transport.closeStdin()
        self.assertEqual(await process.ended, "an orderly end")


def _ignored(pid: int | None) -> int:
    """The signals that a process ignores, a bit each."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("SigIgn:")).split()[1], 16)
