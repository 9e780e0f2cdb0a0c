"""A PostgreSQL that is there and says nothing, as behind a broken network or on a stopped machine."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from happy.bench import proc
from tests.faults.dying import wait_for_database
from tests.faults.stage import Stage, postgres_processes
from tests.hostile.clients import GONE, Answer
from tests.hostile.scene import proof

PROMISED, SLACK = 10.0, 3.0
"""Seconds in which a request that needs the database hears that it is away."""
LONGEST = 20.0
_QUICK = 1.0
_STEP = 0.5


@dataclass
class _Seen:
    """What clients saw: seconds and status of each request, by kind; 0 is no answer at all."""

    answers: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    def slowest(self, kind: str) -> float:
        return max((seconds for seconds, _ in self.answers.get(kind, ())), default=0.0)

    def statuses(self, kind: str) -> set[int]:
        return {status for _, status in self.answers.get(kind, ())}


def freeze_postgres(stage: Stage) -> str:
    """Stop every process of PostgreSQL for up to 20 s, without a word to anybody."""
    token = stage.scene.login()
    session = stage.scene.session(token)
    requests: dict[str, Callable[[], Answer]] = {
        "alive": lambda: stage.scene.ask("GET", "/"),
        "list": lambda: stage.scene.ask("GET", "/v1/sessions", token=token),
        "login": lambda: stage.scene.ask("POST", "/v1/auth", proof()),
        "post": lambda: stage.scene.ask("POST", f"/v3/sessions/{session}/messages", _message(), token),
        "health": lambda: stage.scene.ask("GET", "/health"),
    }
    seen, seconds = _Seen(), min(stage.seconds, LONGEST)
    with _frozen(stage):
        askers = [threading.Thread(target=_ask, args=(seen, kind, ask)) for kind, ask in requests.items()]
        for asker in askers:
            asker.start()
            time.sleep(_STEP)
        time.sleep(max(0.0, seconds - _STEP * len(askers)))
    begun = time.monotonic()
    stage.expect(wait_for_database(stage), "the database did not come back from being frozen")
    back = time.monotonic() - begun
    for asker in askers:
        asker.join(PROMISED + SLACK + seconds)
    _judge(stage, seen, seconds)
    worst = max(map(seen.slowest, requests))
    return f"frozen {seconds:.0f} s, answers after at most {worst:.1f} s, back after {back:.1f} s"


@contextmanager
def _frozen(stage: Stage) -> Iterator[None]:
    """Backends first, so that the postmaster cannot start others meanwhile."""
    pids = postgres_processes(stage.server)
    for pid in reversed(pids):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    time.sleep(_STEP)
    states = {proc.state(pid) for pid in pids} - {""}
    stage.expect(states == {"T"}, f"PostgreSQL is in the states {states}: the fault took no effect")
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _ask(seen: _Seen, kind: str, ask: Callable[[], Answer]) -> None:
    begun = time.monotonic()
    try:
        status = ask().status
    except GONE:
        status = 0
    seen.answers.setdefault(kind, []).append((time.monotonic() - begun, status))


def _judge(stage: Stage, seen: _Seen, seconds: float) -> None:
    stage.expect(seen.statuses("alive") == {200}, "the server itself did not answer")
    stage.expect(seen.slowest("alive") < _QUICK, "what needs no database was slow")
    if seconds < LONGEST:
        return
    for kind in ("list", "login", "health"):
        late = seen.slowest(kind)
        stage.expect(late < PROMISED + SLACK, f"{kind} had no answer for {late:.1f} s of a frozen database")
        stage.expect(seen.statuses(kind) == {503}, f"{kind} was answered {seen.statuses(kind)}, not 503")


def _message() -> dict[str, Any]:
    return {"messages": [{"content": "c", "localId": os.urandom(8).hex()}]}
