"""Accounts that their operator deletes in the middle of whatever they do: uploads, lists, posts, events.

A right server ends or refuses all of it, keeps nothing of it, and blames nobody in its log.
"""

import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.hostile.clients import GONE, Lane, event, head, request
from tests.hostile.scene import Misbehaved, Scene, swallow, text


def attack(scene: Scene) -> str:
    """Begin everything, delete the account, go on."""
    if scene.folder is None:
        return "the server's folder is elsewhere"
    folder, deleted = Path(scene.folder), 0
    for _ in range(scene.pick(1, 6)):
        token = scene.login()
        account, session = scene.account_of(token), scene.session(token)
        link = scene.socket(token, timeout=10)
        swallow(link)
        lanes = _under_way(scene, token, session)
        said = event("message", {"sid": session, "message": text(2000)}, 1)
        deleting = _delete(folder, account)
        while deleting.poll() is None:
            _quietly(link, said * 20)
            for lane, _ in lanes[2:]:
                _quietly(lane, request("GET", "/v1/sessions", token=token))
            scene.rest(0.02, 0.02)
        deleted += deleting.returncode == 0
        for lane, rest in lanes:
            _quietly(lane, rest)
        scene.together(len(lanes), partial(_finish, lanes))
        if scene.ask("GET", "/v1/sessions", token=token).status != 401:
            raise Misbehaved("a deleted account's token is good")
        left = folder / "data" / "files" / "sessions" / session
        if any(path.is_file() for path in left.rglob("*")):
            raise Misbehaved("a file of a deleted account is left")
    if not deleted:
        raise Misbehaved("nothing could be deleted")
    return f"{deleted} deleted"


def _under_way(scene: Scene, token: str, session: str) -> list[tuple[Lane, bytes]]:
    """Connections in the middle of something, each with what is left of it."""
    scene.ask("POST", f"/v3/sessions/{session}/messages", _post(scene.pick(300_000, 3_000_000)), token)
    post = _post(scene.pick(1_000_000, 20_000_000))
    upload = b'"%s"' % text(scene.pick(1_000_000, 9_000_000)).encode()
    begun = [
        (head("PUT", f"/v1/sessions/{session}/attachments/a.enc", token, len(upload)), upload),
        (head("POST", f"/v3/sessions/{session}/messages", token, len(post)), post),
    ]
    lanes = []
    for top, body in begun:
        lane = scene.dial(timeout=10)
        lane.write(top + body[:-1000])
        lanes.append((lane, body[-1000:]))
    for _ in range(scene.pick(2, 10)):
        lane = scene.dial(timeout=10, receive_buffer=4096)
        lane.write(request("GET", f"/v3/sessions/{session}/messages", token=token) * 3)
        lanes.append((lane, b""))
    return lanes


def _post(size: int) -> bytes:
    return b'{"messages":[{"content":"%s","localId":"l"}]}' % text(size).encode()


def _delete(folder: Path, account: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "happy.operator.ctl", f"--data-dir={folder}/data"]
    return subprocess.Popen(
        [*command, "accounts", "delete", account, "--yes"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _finish(lanes: list[tuple[Lane, bytes]], number: int) -> int:
    lane, _ = lanes[number]
    try:
        answer = lane.answer()
        if answer.status >= 500 and answer.status != 503:
            raise Misbehaved(f"connection {number}: {answer.status}")
        return answer.status
    finally:
        lane.close()


def _quietly(lane: Lane, what: bytes) -> None:
    try:
        lane.write(what)
    except GONE:
        return
