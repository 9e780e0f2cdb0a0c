"""What the servers, their PostgreSQL and Redis use, as far as it can be seen from here."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable, Sequence
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
    redis_cpu: float | None = None
    redis_memory: float | None = None


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


class _Processes:
    """What some processes use together; the CPU time of those that are gone stays."""

    def __init__(self) -> None:
        self._cpu: dict[int, float] = {}

    def cpu(self, pids: Iterable[int]) -> float | None:
        """CPU time up to now of these and of those before. None if there never was any."""
        for pid in pids:
            self._cpu[pid] = max(proc.cpu_seconds(pid), self._cpu.get(pid, 0.0))
        return sum(self._cpu.values()) if self._cpu else None


class Observer:
    """Looks at the processes behind ``ports``, their PostgreSQL and Redis, at process ``pid``, or at a page.

    The page is one of metrics. Without any of them there is nothing to see. Servers that are started anew are
    found again by their ports. Redis is looked at if the machine has only one.
    """

    def __init__(
        self, *, ports: Sequence[int] = (), pid: int | None = None, metrics: str | None = None
    ) -> None:
        self._ports = ports
        self._servers = [] if pid is None else [pid]
        self._postgres: int | None = None
        self._metrics = metrics
        self._server_use, self._redis_use = _Processes(), _Processes()
        self._postgres_sum, self._page_sum = _Sum(), _Sum()

    def sample(self) -> Sample:
        """Look."""
        self._find()
        cpu, memory = self._look_at_servers()
        postgres_cpu, postgres_memory = self._look_at_postgres()
        redis = proc.redis() if self._ports else []
        alone = redis if len(redis) == 1 else []
        return Sample(
            perf_counter(),
            cpu,
            memory,
            postgres_cpu,
            postgres_memory,
            self._redis_use.cpu(alone),
            sum(map(proc.resident_bytes, alone)) if alone else None,
        )

    def _find(self) -> None:
        if self._ports and not (self._servers and all(map(proc.runs, self._servers))):
            found = {pid for port in self._ports for pid in proc.listeners(port)}
            self._servers = sorted(found) or self._servers
        if self._servers and (self._postgres is None or not proc.runs(self._postgres)):
            self._postgres = proc.postmaster(self._servers[0]) or self._postgres

    def _look_at_servers(self) -> tuple[float | None, float | None]:
        if self._servers:
            memory = sum(map(proc.resident_bytes, self._servers))
            return self._server_use.cpu(self._servers), memory
        if self._metrics is not None:
            page = _fetch(self._metrics)
            cpu = metric(page, "process_cpu_seconds_total")
            summed = None if cpu is None else self._page_sum.up_to(cpu)
            return summed, metric(page, "process_resident_memory_bytes")
        return None, None

    def _look_at_postgres(self) -> tuple[float | None, float | None]:
        if self._postgres is None:
            return None, None
        backends = proc.children(self._postgres, proc.parents())
        cpu = proc.cpu_seconds(self._postgres, with_reaped=True) + sum(map(proc.cpu_seconds, backends))
        memory = sum(map(proc.proportional_bytes, [self._postgres, *backends]))
        return self._postgres_sum.up_to(cpu), memory


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
