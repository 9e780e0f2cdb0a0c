"""What may happen to a server: each of these does it, and returns when it is over, with a note."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from tests.faults.clocks import PATIENCE, STEPS, step_clock
from tests.faults.crowds import send_garbage, stop_reading
from tests.faults.dying import kill_backend, kill_postgres, kill_server, refuse_forks, wait_for_database
from tests.faults.freezing import LONGEST, freeze_postgres
from tests.faults.stage import Stage
from tests.hostile.attacker import Attacker
from tests.hostile.watching import MIB, Gauge

LEFT, PATIENCE_FOR_MEMORY = 64.0, 60.0
"""MiB that may be left of broken-off transfers, so many seconds after the last one."""
BREAKING = ("broken_off_downloads", "broken_off_uploads", "broken_off_sockets")
_STEP = 0.05
_CHUNK = 1 << 20


def deaf_sockets(stage: Stage) -> str:
    """Sockets stop reading, while much is said to them."""
    dropped, sent = stop_reading(stage.server.url, stage.sockets, stage.seconds)
    return f"{dropped} of {stage.sockets} sockets dropped after {sent / 2**20:.0f} MiB each"


def garbage(stage: Stage) -> str:
    """Sockets send what is nonsense, at every level of the protocol."""
    sent = send_garbage(stage.server.url, stage.sockets, stage.seconds)
    return f"{sent:,} pieces of garbage"


def full_disk(stage: Stage) -> str:
    """Nothing more can be written for a while."""
    assert stage.small is not None
    ballast = stage.small / "ballast"
    end = time.perf_counter() + stage.seconds
    with ballast.open("wb", buffering=0) as file:
        while time.perf_counter() < end:
            _fill(file.fileno())
            time.sleep(_STEP)
    size = ballast.stat().st_size
    ballast.unlink()
    return f"filled up with {size / 2**20:.0f} MiB"


def _fill(descriptor: int) -> None:
    """Write until there is no room for a single byte."""
    size = _CHUNK
    while size:
        try:
            os.write(descriptor, bytes(size))
        except OSError:
            size //= 2


def break_off(stage: Stage) -> str:
    """Transfers of every kind break off; what the server kept for them must go."""
    attacker, notes = Attacker(), []
    end = time.monotonic() + stage.seconds
    with Gauge(stage.server.pid) as gauge:
        base = gauge.now
        while not notes or time.monotonic() < end:
            for name in BREAKING:
                notes.append(attacker.attack(name, stage.scene, stage.seconds + PATIENCE_FOR_MEMORY).note)
        attacker.close()
    begun = time.monotonic()
    while gauge.now - base > LEFT * MIB and time.monotonic() - begun < PATIENCE_FOR_MEMORY:
        time.sleep(_STEP)
    left = (gauge.now - base) / MIB
    stage.expect(left <= LEFT, f"{left:.0f} MiB stayed of transfers that broke off")
    count = sum(int(note.split()[0]) for note in notes if note[:1].isdigit())
    stage.expect(count > 0, "nothing was broken off: the fault took no effect")
    return f"{count:,} broken off, at most {(gauge.most - base) / MIB:+.0f} MiB, then {left:+.0f} MiB"


def several(stage: Stage) -> str:
    """Crowds that misbehave, transfers that break off, and PostgreSQL killed, at the same time."""
    notes: list[str] = []
    crowds = [
        threading.Thread(target=lambda harm=harm: notes.append(harm(stage)))
        for harm in (deaf_sockets, garbage, break_off)
    ]
    for crowd in crowds:
        crowd.start()
    for kill in (kill_postgres, kill_backend, kill_backend, kill_postgres):
        time.sleep(stage.seconds / 5)
        wait_for_database(stage)
        notes.append(kill(stage))
    for crowd in crowds:
        crowd.join()
    return "; ".join(notes)


FAULTS: dict[str, Callable[[Stage], str]] = {
    "postgres": kill_postgres,
    "backend": kill_backend,
    "server": kill_server,
    "deaf": deaf_sockets,
    "garbage": garbage,
    "disk": full_disk,
    "frozen": freeze_postgres,
    "clock": step_clock,
    "broken": break_off,
    "forks": refuse_forks,
    "several": several,
}
"""By the names that the command line has for them."""

LASTING: dict[str, Callable[[float], float]] = {
    "deaf": lambda seconds: seconds,
    "garbage": lambda seconds: seconds,
    "disk": lambda seconds: seconds,
    "frozen": lambda seconds: min(seconds, LONGEST) + 5,
    "clock": lambda seconds: len(STEPS) * min(seconds, PATIENCE),
    "broken": lambda seconds: seconds + 10,
    "forks": lambda seconds: min(seconds, LONGEST) + 5,
    "several": lambda seconds: seconds + 10,
}
"""How long each takes where ``seconds`` is what lasts; the others take a moment."""
