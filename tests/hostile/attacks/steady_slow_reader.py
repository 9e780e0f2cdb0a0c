"""Slow readers that always make progress, for longer than a reader that makes none is given.

One reads a long list, one is a socket that is always some seconds behind what it is told. They are no
attackers at all: a right server serves them to the end. In the short form they read for a moment only.
"""

import time

from tests.hostile.clients import GONE, Lane, frame, request
from tests.hostile.scene import Misbehaved, Scene, text

SECONDS = 80
BACKLOG = 9_000_000
RATE = 300_000
"""Bytes a second that come and go on the socket; at first it is half a minute behind."""
_TICK = 0.1


def attack(scene: Scene) -> str:
    """Both at the same time."""
    token = scene.login()
    session = scene.session(token, metadata=text(scene.pick(1_000_000, 15_000_000)))
    got = [0, 0]
    wrong: list[str] = []

    def read(number: int) -> None:
        reader = (_read_list, _stay_behind)[number]
        try:
            got[number] = reader(scene, token, session)
        except GONE as error:
            wrong.append(f"{reader.__name__[1:]}: {error}")

    scene.together(2, read)
    if wrong:
        raise Misbehaved("; ".join(wrong))
    return f"{got[0]:,} bytes of a list, {got[1]:,} bytes on a socket"


def _read_list(scene: Scene, token: str, session: str) -> int:
    size = scene.pick(1_000_000, 15_000_000)
    lane = scene.dial(receive_buffer=4096, timeout=20)
    lane.write(request("GET", "/v1/sessions", token=token))
    return _read(lane, size, size / scene.pick(0.5, SECONDS))


def _stay_behind(scene: Scene, token: str, session: str) -> int:
    """What it is told grows by as much as it reads."""
    link = scene.socket(token, receive_buffer=4096, timeout=20)
    path, count, got = f"/v3/sessions/{session}/messages", 0, 0
    backlog = scene.pick(RATE, BACKLOG)
    for _ in scene.until(0.5, SECONDS):
        missing = backlog - (count * RATE - got)
        for _ in range(max(0, missing) // RATE):
            item = {"content": text(RATE), "localId": str(count)}
            scene.ask("POST", path, {"messages": [item]}, token)
            count += 1
        got += _read(link, RATE, RATE)
        link.write(frame(b"3"))
    return got


def _read(lane: Lane, size: int, rate: float) -> int:
    """Read so many bytes at a steady rate of so many a second. Raises EOFError if there are less."""
    got, begun = 0, time.monotonic()
    while got < size:
        due = int((time.monotonic() - begun + _TICK) * rate) - got
        if due > 0:
            data = lane.plain.recv(min(due, size - got))
            if not data:
                raise EOFError(f"closed after {got:,} of {size:,} bytes")
            got += len(data)
        else:
            time.sleep(_TICK)
    return got
