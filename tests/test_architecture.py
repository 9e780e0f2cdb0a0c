"""Who may import whom, read from the source.

A room is a folder of the package, or a module that stands by itself. What a row does not list is not allowed;
imports that only type checkers see count as well. No exceptions by file: what needs one is in the wrong room.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent / "happy"

ROOMS = {
    # Leaves that anybody may use: ids, errors, bounds, text forms of bytes, running coroutines.
    "base": {"twisted"},
    # What may be written into the log, and how much of it.
    "logs": {"base", "twisted", "zope"},
    # Names and labels of what is counted.
    "metrics": {"prometheus_client"},
    # One table of settings, their parsers and their sources.
    "settings": {"base", "keys", "logs", "service", "twisted"},
    # All that comes from the master secret.
    "keys": {"base", "cryptography", "msgspec", "nacl", "settings", "twisted"},
    # Engine.IO and Socket.IO without input or output: another project could lift it out.
    "wire": {"msgspec"},
    # Socket.IO on Twisted. Knows nothing of Happy.
    "socketio": {"_nvx_xormasker", "autobahn", "base", "msgspec", "twisted", "wire", "zope"},
    # SQL and its machinery; knows neither clients nor transports.
    "storage": {"base", "metrics", "msgspec", "psycopg2", "twisted", "txpostgres"},
    # The embedded PostgreSQL: the child process, and connecting to it.
    "postgres": {"base", "storage", "twisted", "zope"},
    # Third parties and files; knows nothing of our own clients.
    "outbound": {
        "PIL",
        "base",
        "metrics",
        "minio",
        "msgspec",
        "settings",
        "treq",
        "twisted",
        "urllib3",
        "zope",
    },
    # The framework of endpoints and events: declared, decoded, run, answered.
    "api": {"base", "capabilities", "msgspec", "settings", "socketio", "storage", "twisted", "wire"},
    # Clients that stay connected, and what they are told.
    "realtime": {
        "api",
        "base",
        "capabilities",
        "metrics",
        "msgspec",
        "prometheus_client",
        "socketio",
        "storage",
        "twisted",
        "wire",
    },
    # What the server offers: a file a feature, independent of HTTP and of sockets.
    "capabilities": {
        "api",
        "base",
        "contract",
        "keys",
        "metrics",
        "msgspec",
        "outbound",
        "realtime",
        "settings",
        "socketio",
        "storage",
        "twisted",
    },
    # The declarations once more, for readers.
    "contract": {"api", "base", "capabilities", "msgspec", "realtime", "socketio", "web"},
    # HTTP.
    "web": {"api", "base", "capabilities", "settings", "twisted", "wire", "zope"},
    # What it is to be a running process: the composition root, start and stop, listening, measuring.
    "service": {
        "api",
        "base",
        "capabilities",
        "contract",
        "keys",
        "metrics",
        "msgspec",
        "outbound",
        "postgres",
        "realtime",
        "settings",
        "socketio",
        "storage",
        "twisted",
        "web",
    },
    # What twistd sees.
    "tap": {"base", "logs", "metrics", "service", "settings", "twisted"},
    # A library for programs that use a server, of ours or not.
    "client": {"autobahn", "base", "cryptography", "msgspec", "nacl", "treq", "twisted", "wire", "zope"},
    # The load tool: nothing of what it measures, and no Twisted to hold it back.
    "bench": {"msgspec", "nacl"},
    # The operator's command.
    "operator": {"bench"},
}


class Import(NamedTuple):
    """One module's use of a name; ``running`` tells that it is imported when the program runs."""

    module: str
    name: str
    running: bool


def _module(path: Path) -> str:
    parts = ["happy", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path): path for path in sorted(ROOT.rglob("*.py"))}


def _imported(module: str) -> Iterator[Import]:
    tree = ast.parse(MODULES[module].read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        running = id(node) not in typing_only
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, running) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{module} imports relatively"
            yield from (Import(module, f"{node.module}.{alias.name}", running) for alias in node.names)


IMPORTS = [one for module in MODULES for one in _imported(module)]


def _room(name: str) -> str:
    """The room that a name belongs to, or somebody else's distribution."""
    top, _, rest = name.partition(".")
    if top != "happy":
        return top
    room = rest.partition(".")[0]
    return room if f"happy.{room}" in MODULES else ""


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_room(room: str) -> None:
    """A room imports the standard library, itself, and what its row lists."""
    allowed = ROOMS[room] | {room, ""} | set(sys.stdlib_module_names)
    strays = {
        f"{one.module}: {one.name}"
        for one in IMPORTS
        if _room(one.module) == room and _room(one.name) not in allowed
    }
    assert not strays


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_row_is_needed(room: str) -> None:
    """A row lists nothing that the room does not use."""
    assert ROOMS[room] <= {_room(one.name) for one in IMPORTS if _room(one.module) == room}


def test_every_room_has_a_row() -> None:
    """A new room comes with a decision about what it may import."""
    assert {_room(module) for module in MODULES} - {""} == set(ROOMS)


def test_somebody_pays_for_every_call_of_the_database() -> None:
    """A capability says whose share of the database a call comes from; otherwise it is the server's own."""
    strays = []
    for module, path in MODULES.items():
        if _room(module) != "capabilities":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Attribute(attr="database"), attr="read" | "transact")
                ):
                    named = {keyword.arg for keyword in node.keywords}
                    strays += [] if named & {"owner", "accounts"} else [f"{path.name}:{node.lineno}"]
    assert not strays


def test_no_global_reactor() -> None:
    """The reactor is handed around; nobody takes it when a module is loaded."""
    strays = []
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet":
                strays += [module for alias in node.names if alias.name == "reactor"]
    assert not strays
