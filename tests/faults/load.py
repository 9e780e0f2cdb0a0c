"""The load tool's ``profile`` beside a script: it begins, goes on whatever happens, and judges at the end."""

from __future__ import annotations

import math
import resource
import threading
import time
from typing import Any

from happy.bench.coordinator import Run, perform
from happy.bench.load import Load
from happy.bench.observe import Observer, Sample
from happy.bench.plan import PLANS
from tests.operated import Operated

PREPARATION = 600.0
_HEAD_START = 0.1


class _Watcher(Observer):
    """Notes when the load begins."""

    def __init__(self, port: int) -> None:
        super().__init__(ports=[port])
        self.begun = threading.Event()
        self.begin = 0.0

    def sample(self) -> Sample:
        """The first one is taken right before the load begins."""
        if not self.begun.is_set():
            self.begin = time.perf_counter() + _HEAD_START
            self.begun.set()
        return super().sample()


class Background:
    """A load of at most its ``seconds`` that runs in a thread. ``clock()`` is the seconds since it began."""

    def __init__(self, server: Operated, load: Load) -> None:
        self._watcher = _Watcher(server.port)
        self._load = load
        self._url = server.url
        self._outcome: Run | Exception | None = None
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._perform, daemon=True)

    def start(self) -> None:
        """Prepare the accounts, connect everybody, and begin. Raises what the tool raises."""
        self._thread.start()
        end = time.perf_counter() + PREPARATION
        while not self._watcher.begun.wait(0.1):
            if isinstance(self._outcome, Exception):
                raise self._outcome
            if time.perf_counter() > end:
                raise TimeoutError("the load does not begin")

    def clock(self) -> float:
        """Seconds since the load began."""
        return time.perf_counter() - self._watcher.begin

    def wait_until(self, second: float) -> None:
        """Sleep until that second of the load."""
        time.sleep(max(0.0, second - self.clock()))

    def result(self) -> Run:
        """End it; what it found. Raises what the tool raises."""
        self._enough.set()
        self._thread.join()
        if isinstance(self._outcome, Run):
            return self._outcome
        raise self._outcome or RuntimeError("the load has no outcome")

    def _perform(self) -> None:
        plan = PLANS["profile"]
        room = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 64
        workers = max(plan.workers(self._load, room, 2), math.ceil(plan.sockets(self._load) / room))
        try:
            self._outcome = perform(
                self._url,
                self._load,
                workers,
                plan.addresses(self._load),
                0.0,
                self._watcher,
                _silent,
                self._enough.is_set,
            )
        except Exception as error:
            self._outcome = error


def _silent(line: str) -> None:
    """Progress is told by the script."""


def memory(run: Run) -> float:
    """The most memory that the server had, in MiB."""
    samples: list[Any] = [sample.server_memory or 0 for sample in run.samples]
    return float(max(samples)) / 2**20
