"""A wall clock that is set while the server runs: an hour back, right again, an hour ahead, right again."""

from __future__ import annotations

import time
from contextlib import suppress

from tests.faults.stage import Stage
from tests.hostile.clients import GONE, Socket, frame

STEPS = (-3600.0, 0.0, 3600.0, 0.0)
PATIENCE = 25.0
"""Seconds in which a ping must come and a socket that does not log in must go, with the usual settings."""
_QUICK = 2.0


def step_clock(stage: Stage) -> str:
    """Set it to each, and see whether pings come, silent sockets go, and requests are served."""
    token = stage.scene.login()
    patience = min(stage.seconds, PATIENCE)
    shown = []
    for ahead in STEPS:
        witness, silent = stage.scene.socket(token), stage.scene.socket()
        stage.switches.ahead = ahead
        begun = time.monotonic()
        stage.expect(_pinged(witness, patience), f"no ping with the clock {ahead:+.0f} s off")
        left = max(0.1, patience - (time.monotonic() - begun))
        stage.expect(_ended(silent, left), f"a silent socket stays with the clock {ahead:+.0f} s off")
        answer = stage.scene.ask("GET", "/health", timeout=_QUICK)
        shown.append(answer.json()["timestamp"])
        witness.close()
        silent.close()
    moved = len({one[:13] for one in shown}) >= 3
    stage.expect(moved, f"the server shows the times {shown}: the fault took no effect")
    stage.switches.ahead = 0.0
    return f"{len(STEPS)} steps, the server showed {', '.join(one[11:16] for one in shown)}"


def _pinged(witness: Socket, patience: float) -> bool:
    """Whether the server asks for a sign of life."""
    witness.plain.settimeout(patience)
    with suppress(*GONE):
        while True:
            first, size = witness.take(2)
            payload = witness.take(size if size < 126 else int.from_bytes(witness.take(2), "big"))
            if first & 15 == 1 and payload == b"2":
                witness.write(frame(b"3"))
                return True
    return False


def _ended(silent: Socket, patience: float) -> bool:
    """Whether a socket that never logs in is closed."""
    end = time.monotonic() + patience
    try:
        while (left := end - time.monotonic()) > 0:
            silent.plain.settimeout(left)
            silent.packet()
    except TimeoutError:
        return False
    except GONE:
        return True
    return False
