"""How many instructions of its processor a server takes for one operation: ``python -m tests.instructions``.

A clock tells little on a machine whose speed changes; this number is the same to one or two parts in a
hundred, so two versions can be compared by it. The server runs in valgrind's callgrind, which makes it some
fifty times slower, and by libfaketime in a time that passes as much more slowly, so that its turns are as
usual. Kernel and PostgreSQL do not count. Needs Debian's packages ``valgrind`` and ``faketime``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.hostile.clients import Socket, event, frame
from tests.hostile.scene import Scene, composed, text
from tests.operated import Operated, operated, say

SLOWER: Final = 50
PATIENCE: Final = 600.0
SIZE: Final = 1024
SERVER: Final = ("--metrics-enabled=false", "--address-limit=0", "--login-limit=0")

Round = Callable[[], None]
"""Lets each client do one operation, and waits for what follows from it."""


def calls(scene: Scene, clients: int) -> Round:
    """Each calls a method that another client of its account offers."""
    pairs: list[tuple[Socket, Socket]] = []
    for _ in range(clients):
        token = scene.login()
        target = scene.socket(token, timeout=PATIENCE)
        target.emit("rpc-register", {"method": "m:go"})
        target.until(b'42["rpc-registered"')
        pairs.append((scene.socket(token, timeout=PATIENCE), target))
    call = event("rpc-call", {"method": "m:go", "params": text(SIZE)}, 1)

    def go() -> None:
        for caller, _ in pairs:
            caller.write(call)
        requests = [target.until(b"42") for _, target in pairs]
        for request, (_, target) in zip(requests, pairs, strict=True):
            target.write(frame(b"43" + request[2 : request.index(b"[")] + b'["%s"]' % text(SIZE).encode()))
        for caller, _ in pairs:
            caller.until(b"431[")

    return go


def messages(scene: Scene, clients: int) -> Round:
    """Each sends a message, which another client of its account hears."""
    pairs: list[tuple[Socket, Socket, bytes]] = []
    for _ in range(clients):
        token = scene.login()
        message = event("message", {"sid": scene.session(token), "message": text(SIZE)})
        sender, watcher = (scene.socket(token, timeout=PATIENCE) for _ in range(2))
        pairs.append((sender, watcher, message))

    def go() -> None:
        for sender, _, message in pairs:
            sender.write(message)
        for _, watcher, _ in pairs:
            watcher.until(b'42["update"')

    return go


def deliveries(scene: Scene, clients: int) -> Round:
    """A message of one is heard by all the others of its account."""
    token = scene.login()
    message = event("message", {"sid": scene.session(token), "message": text(SIZE)})
    sender, *watchers = (scene.socket(token, timeout=PATIENCE) for _ in range(clients + 1))

    def go() -> None:
        sender.write(message)
        for watcher in watchers:
            watcher.until(b'42["update"')

    return go


def posts(scene: Scene, clients: int) -> Round:
    """Each stores a message by a request on a connection that stays."""
    pairs = []
    for _ in range(clients):
        token = scene.login()
        path, number = f"/v3/sessions/{scene.session(token)}/messages", 0
        pairs.append((scene.dial(timeout=PATIENCE), path, token))

    def go() -> None:
        nonlocal number
        number += 1
        value = {"messages": [{"content": text(SIZE), "localId": str(number)}]}
        for lane, path, token in pairs:
            lane.write(composed("POST", path, value, token))
        for lane, _, _ in pairs:
            assert lane.answer().status == 200

    return go


@dataclass(frozen=True)
class Case:
    """``rounds`` are counted, after three times as many."""

    make: Callable[[Scene, int], Round]
    clients: int
    rounds: int


CASES: Final = {
    "call of 8 callers": Case(calls, 8, 60),
    "call of one caller": Case(calls, 1, 300),
    "message of 32 senders": Case(messages, 32, 20),
    "message of one sender": Case(messages, 1, 150),
    "delivery to 200 sockets": Case(deliveries, 200, 12),
    "post of 8 clients": Case(posts, 8, 40),
}


def count(case: Case, twistd: Path) -> float:
    """The instructions of one operation."""
    with tempfile.TemporaryDirectory(prefix="happy-instructions-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        slowly, python = folder / "slowly", twistd.with_name("python")
        slowly.write_text(
            f"#!/bin/sh\nLD_PRELOAD={_library()} FAKETIME='+0 x{1 / SLOWER}' exec valgrind --tool=callgrind"
            f' --instr-atstart=no --callgrind-out-file={folder}/counted {python} {twistd} "$@"\n'
        )
        slowly.chmod(0o755)
        with operated(folder, *SERVER, twistd=slowly, environment={"PYTHONHASHSEED": "0"}) as server:
            server.start(PATIENCE)
            go = case.make(Scene(server.port, "127.0.0.1", at_length=True, victim=""), case.clients)
            for _ in range(3 * case.rounds):
                go()
            _control(server, "--instr=on")
            go()
            _control(server, "--zero")
            for _ in range(case.rounds):
                go()
            _control(server, "--dump")
            return _counted(folder / "counted.1") / case.rounds / case.clients


def _library() -> str:
    found = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if found is None:
        raise SystemExit("libfaketime is not here: apt-get install faketime valgrind")
    return str(found)


def _control(server: Operated, order: str) -> None:
    subprocess.run(["callgrind_control", order, str(server.pid)], check=True, capture_output=True)


def _counted(dump: Path) -> int:
    """All instructions but those of libfaketime, which real time does not take."""
    whole = re.search(r"^summary: (\d+)", dump.read_text(errors="replace"), re.MULTILINE)
    assert whole is not None
    report = subprocess.run(
        ["callgrind_annotate", "--threshold=100", "--show=Ir", str(dump)],
        check=True, capture_output=True, text=True, errors="replace",
    ).stdout  # fmt: skip
    slowing = re.findall(r"^ *([\d,]+) .*libfaketime", report, re.MULTILINE)
    return int(whole[1]) - sum(int(part.replace(",", "")) for part in slowing)


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.instructions", description=__doc__)
    parser.add_argument("--twistd", type=Path, default=Path(sys.executable).with_name("twistd"))
    parser.add_argument("--only", choices=list(CASES), help="one of the operations")
    options = parser.parse_args()
    for name, case in CASES.items():
        if options.only in (None, name):
            say(f"{name:24} {count(case, options.twistd.absolute()) / 1000:7.1f} thousand instructions")


if __name__ == "__main__":
    main()
