"""An account's attachments on a part of the disk that takes a second to find one, asked for and stored anew.

A right server lets it wait for its own calls of the store, and serves those of others meanwhile.
"""

from pathlib import Path

from tests.hostile.attacks.slow_files import slow
from tests.hostile.clients import GONE, request
from tests.hostile.scene import Scene


def attack(scene: Scene) -> str:
    """Ask for them, and send others in their place, from many connections."""
    if scene.folder is None:
        return "the server's folder is elsewhere"
    token, folder = scene.login(), Path(scene.folder) / "data" / "files" / "sessions"
    paths = []
    for number in range(scene.pick(3, 12)):
        session = scene.session(token, f"slow {number}")
        paths.append(f"/v1/sessions/{session}/attachments/a.bin")
        scene.ask("PUT", paths[-1], b"12345", token)
        slow(folder / session / "attachments" / "a.bin")
    lanes = [scene.dial(timeout=1) for _ in range(scene.pick(24, 60))]
    for number, lane in enumerate(lanes):
        path = paths[number % len(paths)]
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
