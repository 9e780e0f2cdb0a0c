"""Processes that die, and a system that gives no new ones."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from happy.bench import proc
from tests.faults.stage import Stage, postgres_processes

_STEP = 0.05
_REVIVAL = 60.0
"""Seconds for the server to get its database back once it can."""


def kill_postgres(stage: Stage) -> str:
    """Every process of PostgreSQL dies at once; the server starts it again."""
    for pid in postgres_processes(stage.server):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return "killed"


def kill_backend(stage: Stage) -> str:
    """One of PostgreSQL's sessions dies, and PostgreSQL throws out all others and recovers."""
    backends = proc.children(stage.server.postgres, proc.parents())
    os.kill(max(backends), signal.SIGKILL)
    return "killed"


def kill_server(stage: Stage) -> str:
    """The server dies and is started again at once, as whatever supervises it does."""
    stage.server.kill()
    return f"serving again after {stage.server.start():.2f} s"


def refuse_forks(stage: Stage) -> str:
    """PostgreSQL dies while the system has no process to give, for a while."""
    stage.switches.refuse_forks(True)
    kill_postgres(stage)
    time.sleep(min(stage.seconds, 20.0))
    stage.switches.refuse_forks(False)
    refused, begun = stage.switches.refused, time.monotonic()
    stage.expect(refused > 0, "no fork was refused: the fault took no effect")
    back = wait_for_database(stage)
    if not back:
        stage.problems.append(f"PostgreSQL did not come back within {_REVIVAL:.0f} s of a refused fork")
        kill_server(stage)
    return f"{refused} forks refused, back after {time.monotonic() - begun:.1f} s"


def wait_for_database(stage: Stage) -> bool:
    """Whether the server says that its database answers, sooner or later."""
    end = time.monotonic() + _REVIVAL
    while time.monotonic() < end:
        with suppress(OSError, EOFError):
            if stage.scene.ask("GET", "/health", timeout=5).status == 200:
                return True
        time.sleep(_STEP)
    return False
