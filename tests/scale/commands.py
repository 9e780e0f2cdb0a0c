"""What a long command of the operator takes, and what those who write meanwhile notice of it."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, Thread
from typing import Any, NamedTuple

from happy.client import AccountKeys
from tests.harness import psql
from tests.operated import ROOT, Operated, say
from tests.scale.filling import LARGEST, Size, analyse
from tests.scale.lists import fill

QUIET_SECONDS = 20
"""How long the same is measured without the command."""

_STEP = 0.05
_LONG_AGO = """
UPDATE "Session" SET "lastActiveAt" = now() - interval '1 year', "updatedAt" = now() - interval '1 year',
"active" = false WHERE "id" = %s
"""


class Posted(NamedTuple):
    """A message: when it was sent, and after how many seconds it was answered."""

    at: float
    took: float


def measure(server: Operated, size: Size, what: str, scale: float) -> None:
    """Fill a database, and print times of messages before and while ``what`` runs, under load."""
    server.start()
    begun = time.perf_counter()
    fill(server.dsn, replace(size, content=1024, sealed=True))
    psql(server.dsn, _LONG_AGO, [LARGEST])
    analyse(server.dsn)
    say(f"filling with {size.messages:,} messages: {time.perf_counter() - begun:.0f} s")
    with load(server, scale), posting(server) as posted:
        time.sleep(QUIET_SECONDS)
        begun = time.perf_counter()
        said = _happyctl(server, what)
        took = time.perf_counter() - begun
        report("before", posted, 0, begun)
        report(f"during {what}", posted, begun, begun + took)
    say(f"{what}: {took:.1f} s: {said}")


def _happyctl(server: Operated, what: str) -> str:
    arguments = {
        "cleanup": ["--inactive", "90d", "--yes"],
        "backup": [str(server.folder / "backups")],
    }[what]
    command = [sys.executable, "-m", "happy.operator.ctl", what, *arguments, "--json"]
    command += ["--data-dir", str(server.folder / "data")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return " ".join((done.stdout + done.stderr).split())


def report(when: str, posted: Sequence[Posted], since: float, until: float) -> None:
    """Print how long the messages of a time took."""
    ordered = sorted(1000 * one.took for one in posted if since <= one.at < until)
    of = [ordered[min(int(len(ordered) * part), len(ordered) - 1)] for part in (0.5, 0.99, 1.0)]
    say(f"{when}: {len(ordered)} messages, p50 {of[0]:.1f} ms, p99 {of[1]:.1f} ms, worst {of[2]:.1f} ms")


@contextmanager
def load(server: Operated, scale: float) -> Iterator[None]:
    """A part of the hosted service's load, until the context ends."""
    command = [sys.executable, "-m", "happy.operator.ctl", "bench", server.url, "profile"]
    process = subprocess.Popen(
        [*command, "--scale", str(scale), "--seconds", "3600"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def posting(server: Operated, token: str = "") -> Iterator[list[Posted]]:
    """Twenty messages a second by HTTP, one after another, as an open loop; what came of those so far.

    They are of the account that ``token`` is of, or of a new one.
    """
    posted: list[Posted] = []
    over = Event()
    thread = Thread(target=_post, args=(server, token or log_in(server), posted, over))
    thread.start()
    try:
        yield posted
    finally:
        over.set()
        thread.join()


def log_in(server: Operated) -> str:
    """The token of a new account."""
    connection = connect(server)
    token: str = _ask(connection, "/v1/auth", AccountKeys.generate().login())["token"]
    connection.close()
    return token


def connect(server: Operated) -> http.client.HTTPConnection:
    """A connection that waits for long."""
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)


def _post(server: Operated, token: str, posted: list[Posted], over: Event) -> None:
    connection = connect(server)
    session = _ask(connection, "/v1/sessions", {"tag": "t", "metadata": "m"}, token)["session"]["id"]
    due = time.perf_counter()
    while not over.wait(max(due - time.perf_counter(), 0)):
        message = {"content": "x" * 1024, "localId": str(len(posted))}
        _ask(connection, f"/v3/sessions/{session}/messages", {"messages": [message]}, token)
        posted.append(Posted(due, time.perf_counter() - due))
        due += _STEP
    connection.close()


def _ask(connection: http.client.HTTPConnection, path: str, body: object, token: str = "") -> Any:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    connection.request("POST", path, json.dumps(body), headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {content[:200]!r}")
    return json.loads(content)
