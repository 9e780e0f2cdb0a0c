"""Attachments and pages of the web app on a disk that takes a second to open a file, as over a network.

A right server opens and reads files beside its loop, and so that the files of others can still be read.
"""

from pathlib import Path

from tests.hostile.clients import GONE, request
from tests.hostile.scene import Scene


def attack(scene: Scene) -> str:
    """Ask for such files from many connections."""
    if scene.folder is None:
        return "the server's folder is elsewhere"
    token, folder = scene.login(), Path(scene.folder)
    session = scene.session(token)
    paths = []
    for number in range(3):
        page = folder / "webapp" / f"page-{number}.js"
        page.write_text("0")
        slow(page)
        paths += [f"/{page.name}", _upload(scene, token, session, number)]
    lanes = [scene.dial(timeout=1) for _ in range(scene.pick(8, 60))]
    for number, lane in enumerate(lanes):
        try:
            lane.write(request("GET", paths[number % len(paths)], token=token) * scene.pick(1, 5))
        except GONE:
            continue
    scene.rest(0.6, 10)
    for lane in lanes:
        lane.close()
    for mark in folder.rglob("*.slow"):
        mark.unlink()
    return f"{len(lanes)} requests"


def _upload(scene: Scene, token: str, session: str, number: int) -> str:
    """Put an attachment on the slow disk; its path on the server."""
    assert scene.folder is not None
    files = Path(scene.folder) / "data" / "files"
    before = set(files.rglob("*"))
    path = f"/v1/sessions/{session}/attachments"
    wish = scene.ask("POST", f"{path}/request-upload", {"filename": f"{number}.bin", "size": 5}, token)
    target = "/" + wish.json()["uploadUrl"].split("/", 3)[3]
    scene.ask("PUT", target, b"12345", token)
    for file in set(files.rglob("*")) - before:
        if file.is_file():
            slow(file)
    return target.partition("?")[0]


def slow(file: Path) -> None:
    """From now on it takes long to open; see ``tests.interposed``."""
    file.with_name(file.name + ".slow").touch()
