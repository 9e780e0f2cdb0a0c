"""Looking at processes and metrics."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
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
    sample = Observer().sample()
    assert (sample.server_cpu, sample.postgres_memory) == (None, None)


SERVER = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
sum(range(2_000_000))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""


def serve(port: int) -> tuple[subprocess.Popen[str], int]:
    """A process that has worked a little and listens, and its port."""
    command = [sys.executable, "-c", SERVER, str(port)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_restarted_server() -> None:
    """A server that comes back as another process is found again; CPU adds up, even while there is none."""
    process, port = serve(0)
    observer = Observer(ports=[port])
    used = [observer.sample().server_cpu]
    for _ in range(2):
        process.communicate()
        used.append(observer.sample().server_cpu)
        process, _ = serve(port)
        used.append(observer.sample().server_cpu)
    process.communicate()
    first, gone, second, gone_again, third = used
    assert first is not None and second is not None and third is not None
    assert 0 < first == gone < second == gone_again < third


def test_metrics_page() -> None:
    """A metric is found with labels and without, and not by a part of its name."""
    page = 'process_cpu_seconds_total_x 1\n# TYPE a b\nprocess_cpu_seconds_total{app="happy"} 2.5\nrss 7e6\n'
    assert metric(page, "process_cpu_seconds_total") == 2.5
    assert metric(page, "rss") == 7e6
    assert metric(page, "process") is None


def test_several_servers() -> None:
    """What several servers use is added up, that of one that is gone too."""
    processes, ports = zip(*(serve(0) for _ in range(2)), strict=True)
    observer = Observer(ports=ports)
    both = observer.sample().server_cpu
    assert both is not None
    alone = [Observer(ports=[port]).sample().server_cpu for port in ports]
    assert 0 < max(one or 0 for one in alone) < both
    processes[0].communicate()
    assert (observer.sample().server_cpu or 0) >= both
    processes[1].communicate()
