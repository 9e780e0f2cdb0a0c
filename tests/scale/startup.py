"""How long a server with a large database takes to start and to stop, in order and not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from happy.bench import proc
from tests.operated import ROOT, Operated, say
from tests.scale.filling import Size
from tests.scale.lists import fill

LOAD_SECONDS = 20


def measure(server: Operated, size: Size) -> None:
    """Fill a database, and print what starting and stopping take."""
    say(f"first start, new folder: {server.start():.2f} s")
    begun = time.perf_counter()
    fill(server.dsn, size)
    say(f"filling with {size.messages:,} messages: {time.perf_counter() - begun:.0f} s")
    _stop(server, "stop after filling")
    for _ in range(3):
        _start(server, "start")
        _stop(server, "stop")
    _start(server, "start")
    with load(server):
        time.sleep(LOAD_SECONDS)
        _stop(server, "stop under load")
    _start(server, "start after that")
    with load(server):
        time.sleep(LOAD_SECONDS)
        server.kill()
    _start(server, "start after SIGKILL of the server under load")
    with load(server):
        time.sleep(LOAD_SECONDS)
        kill_everything(server)
    _start(server, "start after SIGKILL of everything under load")
    _stop(server, "stop")


def _start(server: Operated, what: str) -> None:
    seconds = server.start()
    say(f"{what}: {seconds:.2f} s, {proc.cpu_seconds(server.pid):.2f} s of CPU")


def _stop(server: Operated, what: str) -> None:
    status, seconds = server.stop()
    say(f"{what}: {seconds:.2f} s, exit status {status}")


def kill_everything(server: Operated) -> None:
    """SIGKILL for the server and every process of its PostgreSQL at once, as a power cut would."""
    postmaster = server.postgres
    victims = [server.pid, postmaster, *proc.children(postmaster, proc.parents())]
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.kill()


@contextmanager
def load(server: Operated) -> Iterator[None]:
    """Durable messages from 32 sockets, as fast as they are stored, until the server is gone."""
    command = [
        sys.executable,
        "-m",
        "happy.operator.ctl",
        "bench",
        server.url,
        "messages",
        "--seconds",
        "120",
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()
