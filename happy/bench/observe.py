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


class Observer:
    """Looks at a local process ``server`` and its PostgreSQL, or at a metrics page of a remote server."""

    def __init__(self, server: int | None, postgres: int | None, metrics: str | None = None) -> None:
        self.server = server
        self.postgres = postgres
        self._metrics = metrics

    @classmethod
    def of(cls, port: int, local: bool, pid: int | None, metrics: str | None) -> Observer:
        """Find the processes behind a port of this machine, unless ``pid`` is the server."""
        server = pid if pid is not None else proc.listener(port) if local else None
        return cls(server, None if server is None else proc.postmaster(server), metrics)

    def sample(self) -> Sample:
        """Look."""
        cpu, memory = self._server()
        postgres_cpu, postgres_memory = self._database()
        return Sample(perf_counter(), cpu, memory, postgres_cpu, postgres_memory)

    def _server(self) -> tuple[float | None, float | None]:
        if self.server is not None:
            return proc.cpu_seconds(self.server), proc.resident_bytes(self.server)
        if self._metrics is not None:
            page = _fetch(self._metrics)
            return metric(page, "process_cpu_seconds_total"), metric(page, "process_resident_memory_bytes")
        return None, None

    def _database(self) -> tuple[float | None, float | None]:
        if self.postgres is None:
            return None, None
        backends = proc.children(self.postgres, proc.parents())
        cpu = proc.cpu_seconds(self.postgres, with_reaped=True) + sum(map(proc.cpu_seconds, backends))
        memory = sum(map(proc.proportional_bytes, [self.postgres, *backends]))
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
