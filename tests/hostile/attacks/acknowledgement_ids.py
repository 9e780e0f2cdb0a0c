"""A client counts the calls of the whole server by the numbers of its own acknowledgements.

A right server numbers them for each socket, so that nobody learns its total.
"""

from itertools import pairwise

from tests.hostile.scene import Misbehaved, Scene


def attack(scene: Scene) -> str:
    """Two sockets are called in turns; the numbers that each sees must be its own."""
    token = scene.login()
    caller = scene.socket(token)
    targets = [scene.socket(token) for _ in range(2)]
    for number, target in enumerate(targets):
        target.emit("rpc-register", {"method": f"m{number}"})
        target.until(b'42["rpc-registered"')
    seen: list[list[int]] = [[], []]
    for turn in range(6):
        for number, target in enumerate(targets):
            caller.emit("rpc-call", {"method": f"m{number}", "params": ""}, 2 * turn + number)
            while not (packet := target.until(b"42")).partition(b"[")[2].startswith(b'"rpc-request"'):
                pass
            seen[number].append(int(packet[2 : packet.index(b"[")]))
    if any(later - earlier != 1 for one in seen for earlier, later in pairwise(one)):
        raise Misbehaved(f"acknowledgements are numbered across sockets: {seen}")
    return "numbered for each socket"
