"""The process that attacks, one attack after the other, with less claim on the CPU than everybody else.

Each line of the input names an attack and describes the scene; each is answered with a line: a note, or what
the server did wrong to the attacker itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import msgspec

from tests.hostile.attacks import find
from tests.hostile.clients import GONE
from tests.hostile.scene import Misbehaved, Scene
from tests.operated import ROOT

_NICE = 10


class Order(msgspec.Struct):
    """An attack to be made."""

    name: str
    scene: Scene


class Result(msgspec.Struct):
    """What came of it: ``wrong`` is what the server did to the attacker that it may not do."""

    note: str = ""
    wrong: str = ""


class Attacker:
    """The process, from the other side; it is started anew when an attack takes too long."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def attack(self, name: str, scene: Scene, patience: float) -> Result:
        """Make an attack; after ``patience`` seconds it is broken off."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                cwd=ROOT,
            )
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        timer = threading.Timer(patience, process.kill)
        timer.start()
        try:
            process.stdin.write(msgspec.json.encode(Order(name, scene)) + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        finally:
            timer.cancel()
        if line:
            return msgspec.json.decode(line, type=Result)
        self.close()
        return Result(note=f"broken off after {patience:.0f} s")

    def close(self) -> None:
        """End the process, and with it all its connections."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None and process.stdout is not None
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


def _make(order: Order) -> Result:
    try:
        return Result(note=find(order.name)(order.scene))
    except Misbehaved as error:
        return Result(wrong=str(error))
    except GONE as error:
        return Result(note=f"turned away: {error}"[:200])


def main() -> None:
    """Attack as told until the input ends."""
    os.nice(_NICE)
    for line in sys.stdin.buffer:
        result: Any = _make(msgspec.json.decode(line, type=Order))
        sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
