"""Accounts' attachments on a part of the disk that takes a second to find one, asked for and stored anew.

A right server lets each wait for its own calls of the store, and serves those of others meanwhile, though
there are more who wait than it has threads for what ends soon.
"""

from pathlib import Path

from tests.hostile.attacks.slow_files import slow
from tests.hostile.clients import GONE, request
from tests.hostile.scene import Scene


def attack(scene: Scene) -> str:
    """Ask for them, and send others in their place, from many connections."""
    if scene.folder is None:
        return "the server's folder is elsewhere"
    folder = Path(scene.folder) / "data" / "files" / "sessions"
    tokens = scene.crowd(scene.pick(3, 8), lambda _: scene.login())
    targets = []
    for number in range(scene.pick(3, 16)):
        token = tokens[number % len(tokens)]
        session = scene.session(token, f"slow {number}")
        targets.append((f"/v1/sessions/{session}/attachments/a.bin", token))
        scene.ask("PUT", targets[-1][0], b"12345", token)
        slow(folder / session / "attachments" / "a.bin")
    lanes = [scene.dial(timeout=1) for _ in range(scene.pick(24, 60))]
    for number, lane in enumerate(lanes):
        path, token = targets[number % len(targets)]
        wishes = [request("GET", path, token=token), request("PUT", path, b"54321", token)]
        try:
            lane.write(b"".join(wishes[number % 2 :]) * scene.pick(1, 5))
        except GONE:
            continue
    scene.rest(1.5, 10)
    for lane in lanes:
        lane.close()
    for mark in folder.rglob("*.slow"):
        mark.unlink()
    return f"{len(lanes)} requests"
