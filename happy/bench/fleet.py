"""The worker processes, from the coordinator's side."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from happy.bench.load import Job

_ROOT = Path(__file__).parents[2]


class WorkerFailed(Exception):
    """A worker could not go on; the text is for people."""


class _Process:
    """One worker and its half line of output."""

    def __init__(self, job: Job) -> None:
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "happy.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            bufsize=0,
        )
        assert self._child.stdout is not None
        self.output = self._child.stdout
        self._rest = b""
        self.send(msgspec.to_builtins(job))

    def send(self, value: Any) -> None:
        """Write a command. A worker that is gone shows in its output."""
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(msgspec.json.encode(value) + b"\n")
        except BrokenPipeError:
            return

    def read(self) -> list[dict[str, Any]] | None:
        """The facts of what it wrote; None at the end."""
        data = os.read(self.output.fileno(), 1 << 20)
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [msgspec.json.decode(line) for line in lines]

    def end(self) -> int:
        """Let go of it; its exit status."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        self.output.close()
        try:
            return self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()


class Fleet:
    """All workers of a run. A context manager: they end with it."""

    def __init__(self, jobs: list[Job]) -> None:
        self._selector = selectors.DefaultSelector()
        self._processes = [_Process(job) for job in jobs]
        for process in self._processes:
            self._selector.register(process.output, selectors.EVENT_READ, process)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for process in self._processes:
            process.end()

    def __len__(self) -> int:
        return len(self._processes)

    def tell(self, command: dict[str, Any]) -> None:
        """Give all the same command."""
        for process in self._processes:
            process.send(command)

    def facts(self, until: str) -> Iterator[dict[str, Any]]:
        """What workers say, up to the moment when all have said ``until``.

        An empty fact comes every second. Raises WorkerFailed.
        """
        missing = set(self._processes)
        beat = perf_counter() + 1.0
        while missing:
            for key, _ in self._selector.select(max(0.0, beat - perf_counter())):
                for fact in self._read(key.data, missing):
                    if until in fact:
                        missing.discard(key.data)
                    yield fact
            if perf_counter() >= beat:
                beat += 1.0
                yield {}

    def _read(self, process: _Process, missing: Collection[_Process]) -> list[dict[str, Any]]:
        facts = process.read()
        if facts is None:
            self._selector.unregister(process.output)
            if process not in missing:
                return []  # It has said everything, before the others.
            raise WorkerFailed("a worker process ended unexpectedly")
        for fact in facts:
            if "failed" in fact:
                raise WorkerFailed(fact["failed"])
        return facts
