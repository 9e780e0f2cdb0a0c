"""Upgrades out of order: of sessions that are not there, of the same one twice, with probes and without.

And two polls at once, posts during an upgrade, closed sessions that are used. A right server ends what is
wrong, keeps nothing of it, and says nothing in its log.
"""

from tests.hostile.clients import GONE, POLLING, UPGRADE, frame, request
from tests.hostile.scene import Scene

SEQUENCES = (
    (b"2probe", b"5", b"2probe", b"5"),
    (b"5",),
    (b"2probe",),
    (b"2probe", b'42["ping",{}]'),
    (b"40{}",),
    (b"2probe", b"1"),
    (b"",),
)


def attack(scene: Scene) -> str:
    """Sessions of which nothing is as it should be."""
    count = 0
    for number in scene.until(0.35, 15):
        try:
            sid = scene.polling().encode()
            _confuse(scene, sid, SEQUENCES[number % len(SEQUENCES)], number)
        except GONE:
            continue
        count += 1
    return f"{count} sessions"


def _confuse(scene: Scene, sid: bytes, sequence: tuple[bytes, ...], number: int) -> None:
    address = f"{POLLING}&sid={sid.decode()}"
    lanes = [scene.dial(timeout=2) for _ in range(4)]
    lanes[0].write(request("GET", address) * (1 + number % 3))
    wanted = sid if number % 4 else b"nobody" * 100
    for lane in lanes[1:3]:
        lane.write(UPGRADE.replace(b"websocket HTTP", b"websocket&sid=%s HTTP" % wanted, 1))
        lane.write(b"".join(map(frame, sequence)))
    lanes[3].write(request("POST", address, b"1" if number % 2 else b"40"))
    for lane in lanes:
        lane.reset() if number % 5 else lane.close()
