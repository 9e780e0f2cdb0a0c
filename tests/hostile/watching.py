"""The innocent beside an attack, and what can be seen of the server itself from outside."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import msgspec

from happy.bench import proc
from happy.bench.observe import metric
from tests.operated import ROOT, Operated

MIB = 1 << 20
STALL = "happy_reactor_stall_seconds"
BRIEF = 0.05
_STEP = 0.02


@dataclass
class Seen:
    """How the innocent was treated. ``slowest`` has seconds by kind, ``harm`` what went wrong and how often;
    ``lag`` is how late its own process was: what the machine owes, and not the server.
    """

    count: int
    lag: float
    slowest: dict[str, float]
    harm: dict[str, int] = field(default_factory=dict)

    @property
    def worst(self) -> tuple[str, float]:
        """The kind that took longest, and its seconds, less what the machine owes."""
        kind = max(self.slowest, key=lambda name: self.slowest[name], default="nothing")
        return kind, max(0.0, self.slowest.get(kind, 0.0) - self.lag)


class Watch:
    """The innocent as a process of its own. ``account`` is its id."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.innocent", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
        )
        self.account = str(self._line()["account"])

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the innocent client gave up")
        return dict(msgspec.json.decode(line))

    def report(self) -> Seen:
        """What happened since the last report; waits for what is under way."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return Seen(**self._line())

    def close(self) -> None:
        """Let it go."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Gauge:
    """Resident memory of a process, in bytes: ``most`` of it while it is looked at."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stopped = threading.Event()
        self.most = self.now
        self._thread = threading.Thread(target=self._look, daemon=True)

    @property
    def now(self) -> int:
        """As it is."""
        return proc.resident_bytes(self._pid)

    def _look(self) -> None:
        while not self._stopped.wait(_STEP):
            self.most = max(self.most, self.now)

    def __enter__(self) -> Gauge:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()


@dataclass(frozen=True)
class Stalls:
    """How late the server's loop was: how often in all, how often over 50 ms, and the bound of the worst.

    ``known`` is false for a server that does not tell.
    """

    known: bool = False
    count: float = 0
    long: float = 0
    worst: float = 0

    def since(self, before: Stalls) -> Stalls:
        """What was added."""
        return Stalls(self.known, self.count - before.count, self.long - before.long, self.worst)


def page(port: int) -> str:
    """The metrics of a server; empty if there are none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    except OSError:
        return ""
    finally:
        connection.close()


def stalls(metrics: str) -> Stalls:
    """What a page of metrics says about stalls."""
    count = metric(metrics, f"{STALL}_count")
    if count is None:
        return Stalls()
    brief = [float(line.rpartition(" ")[2]) for line in metrics.splitlines() if _is_brief(line)]
    return Stalls(True, count, count - max(brief, default=0.0))


def _is_brief(line: str) -> bool:
    """Whether a line counts those of at most 50 ms."""
    return line.startswith(f"{STALL}_bucket") and f'le="{BRIEF}"' in line


def counted(metrics: str, name: str) -> float:
    """The sum of a metric over all its labels."""
    lines = [line for line in metrics.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def memory(server: Operated) -> float:
    """Resident memory of a server, in MiB."""
    return proc.resident_bytes(server.pid) / MIB
