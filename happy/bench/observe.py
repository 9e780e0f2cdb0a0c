"""What the server and its PostgreSQL use, as far as it can be seen from here."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass
from time import perf_counter
from urllib.error import URLError

from happy.bench import proc

_PATIENCE = 5.0


@dataclass(frozen=True)
class Sample:
    """Use up to now: CPU in seconds, memory in bytes. None where it cannot be seen."""

    time: float
    server_cpu: float | None = None
    server_memory: float | None = None
    postgres_cpu: float | None = None
    postgres_memory: float | None = None


class _Sum:
    """CPU time of processes that follow each other: each begins at 0."""

    def __init__(self) -> None:
        self._before = 0.0
        self._last = 0.0

    def up_to(self, seconds: float) -> float:
        """The sum with what the present process has used."""
        if seconds < self._last:
            self._before += self._last
        self._last = seconds
        return self._before + seconds


class Observer:
    """Looks at the process behind ``port`` and its PostgreSQL, at process ``pid``, or at a metrics page.

    Without any of them there is nothing to see. A server that is started anew is found again by its port.
    """

    def __init__(
        self, *, port: int | None = None, pid: int | None = None, metrics: str | None = None
    ) -> None:
        self._port = port
        self._server = pid
        self._postgres: int | None = None
        self._metrics = metrics
        self._server_sum, self._postgres_sum = _Sum(), _Sum()

    def sample(self) -> Sample:
        """Look."""
        self._find()
        cpu, memory = self._look_at_server()
        postgres_cpu, postgres_memory = self._look_at_postgres()
        return Sample(
            perf_counter(),
            None if cpu is None else self._server_sum.up_to(cpu),
            memory,
            None if postgres_cpu is None else self._postgres_sum.up_to(postgres_cpu),
            postgres_memory,
        )

    def _find(self) -> None:
        if self._port is not None and (self._server is None or not proc.runs(self._server)):
            self._server = proc.listener(self._port) or self._server
        if self._server is not None and (self._postgres is None or not proc.runs(self._postgres)):
            self._postgres = proc.postmaster(self._server) or self._postgres

    def _look_at_server(self) -> tuple[float | None, float | None]:
        if self._server is not None:
            return proc.cpu_seconds(self._server), proc.resident_bytes(self._server)
        if self._metrics is not None:
            page = _fetch(self._metrics)
            return metric(page, "process_cpu_seconds_total"), metric(page, "process_resident_memory_bytes")
        return None, None

    def _look_at_postgres(self) -> tuple[float | None, float | None]:
        if self._postgres is None:
            return None, None
        backends = proc.children(self._postgres, proc.parents())
        cpu = proc.cpu_seconds(self._postgres, with_reaped=True) + sum(map(proc.cpu_seconds, backends))
        memory = sum(map(proc.proportional_bytes, [self._postgres, *backends]))
        return cpu, memory


def _fetch(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:
            return str(answer.read().decode(errors="replace"))
    except (URLError, OSError):
        return ""


def metric(page: str, name: str) -> float | None:
    """The value of a metric of the Prometheus text format, with or without labels."""
    for line in page.splitlines():
        if line.startswith((f"{name} ", f"{name}{{")):
            return float(line.rpartition(" ")[2])
    return None
