"""Files whose reading blocks, as on a network disk that is away: attachments and pages of the web app.

A pipe without a writer stands in the place of each. A right server reads files beside its loop, and so that
the files of others can still be read.
"""

import os
from contextlib import suppress
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
        page = folder / "webapp" / f"blocked-{number}.js"
        _block(page)
        paths.append(f"/{page.name}")
        paths.append(_upload(scene, token, session, folder, number))
    lanes = [scene.dial(timeout=1) for _ in range(scene.pick(8, 60))]
    for number, lane in enumerate(lanes):
        try:
            lane.write(request("GET", paths[number % len(paths)], token=token))
        except GONE:
            continue
    scene.rest(0.7, 10)
    for pipe in folder.rglob("*"):
        if pipe.is_fifo():
            _release(pipe)
    for lane in lanes:
        lane.close()
    return f"{len(lanes)} requests"


def _upload(scene: Scene, token: str, session: str, folder: Path, number: int) -> str:
    """Put an attachment, and a pipe in its place; its path on the server."""
    before = set((folder / "data" / "files").rglob("*"))
    path = f"/v1/sessions/{session}/attachments"
    wish = scene.ask("POST", f"{path}/request-upload", {"filename": f"{number}.bin", "size": 5}, token)
    target = "/" + wish.json()["uploadUrl"].split("/", 3)[3]
    scene.ask("PUT", target, b"12345", token)
    for file in set((folder / "data" / "files").rglob("*")) - before:
        if file.is_file():
            _block(file)
    return target.partition("?")[0]


def _block(file: Path) -> None:
    file.unlink(missing_ok=True)
    os.mkfifo(file, 0o666)


def _release(pipe: Path) -> None:
    """Open it from the other side, so that readers who wait get their end."""
    with suppress(OSError):
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    pipe.unlink()
