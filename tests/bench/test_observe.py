"""Looking at processes and metrics."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from happy.bench import proc
from happy.bench.observe import Observer, metric


def test_listener() -> None:
    """The process behind a port is found, and none behind a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert proc.listener(port) == os.getpid()
    assert proc.listener(port) is None


def test_use_of_a_process() -> None:
    """Our own CPU and memory are seen; those of a process that is gone are 0."""
    sum(number * number for number in range(200_000))
    assert proc.cpu_seconds(os.getpid(), with_reaped=True) > 0
    assert proc.resident_bytes(os.getpid()) > 2**20
    assert 0 < proc.proportional_bytes(os.getpid()) <= proc.resident_bytes(os.getpid()) * 1.1
    gone = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    assert (proc.cpu_seconds(gone), proc.resident_bytes(gone), proc.name(gone)) == (0, 0, "")


def test_family() -> None:
    """A process is among the children of its parent."""
    assert os.getpid() in proc.children(os.getppid(), proc.parents())


def test_remote_server() -> None:
    """Nothing is looked at for a server elsewhere without a metrics page."""
    sample = Observer.of(3005, False, None, None).sample()
    assert (sample.server_cpu, sample.postgres_memory) == (None, None)


def test_metrics_page() -> None:
    """A metric is found with labels and without, and not by a part of its name."""
    page = 'process_cpu_seconds_total_x 1\n# TYPE a b\nprocess_cpu_seconds_total{app="happy"} 2.5\nrss 7e6\n'
    assert metric(page, "process_cpu_seconds_total") == 2.5
    assert metric(page, "rss") == 7e6
    assert metric(page, "process") is None
