"""Who may import whom, read from the source.

A room is a folder of the package, or a module that stands by itself. What a row does not list is not allowed;
imports that only type checkers see count as well. No exceptions by file: what needs one is in the wrong room.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent / "happy"

ROOMS = {
    # Leaves that anybody may use: ids, errors, time, bounds, text forms of bytes, running coroutines.
    "base": {"twisted"},
    # Names and labels of what is counted.
    "metrics": {"prometheus_client"},
    # What may be written into the log, and how much of it.
    "logs": {"base", "msgspec", "twisted", "zope"},
    # One table of settings, their parsers and their sources.
    "settings": {"base", "logs", "twisted"},
    # All that comes from the master secret.
    "keys": {"base", "settings", "cryptography", "msgspec", "nacl", "twisted"},
    # Engine.IO and Socket.IO without input or output: another project could lift it out.
    "wire": {"msgspec"},
    # Socket.IO on Twisted, for any program: it knows nothing of Happy.
    "socketio": {"base", "wire", "_nvx_xormasker", "autobahn", "msgspec", "twisted", "zope"},
    # SQL and its machinery; knows neither clients nor transports.
    "storage": {"base", "metrics", "msgspec", "psycopg2", "twisted", "txpostgres"},
    # The embedded PostgreSQL: the child process, and connecting to it.
    "postgres": {"base", "storage", "twisted", "zope"},
    # Third parties and files; knows nothing of our own clients.
    "outbound": {"base", "metrics", "settings"}
    | {"PIL", "minio", "msgspec", "treq", "twisted", "urllib3", "zope"},
    # The framework of endpoints and events: declared, decoded, run, answered.
    "api": {
        "base",
        "keys",
        "logs",
        "metrics",
        "settings",
        "socketio",
        "storage",
        "wire",
        "msgspec",
        "twisted",
    },
    # Clients that stay connected, and what they are told.
    "realtime": {"api", "base", "keys", "metrics", "socketio", "storage", "wire"}
    | {"msgspec", "prometheus_client", "twisted"},
    # Several nodes that are one service.
    "cluster": {"base", "metrics", "realtime", "storage"}
    | {"OpenSSL", "hiredis", "msgspec", "twisted", "zope"},
    # What the server offers: a file a feature, independent of HTTP and of sockets.
    "capabilities": {"api", "base", "keys", "outbound", "realtime", "socketio", "storage"}
    | {"msgspec", "twisted"},
    # The declarations once more, for readers.
    "contract": {"api", "base", "capabilities", "realtime", "msgspec"},
    # HTTP.
    "web": {"api", "base", "settings", "wire", "twisted", "zope"},
    # What it is to be a running process: the composition root, start and stop, listening, measuring.
    "service": {
        "api",
        "backup",
        "base",
        "capabilities",
        "cluster",
        "contract",
        "keys",
        "logs",
        "metrics",
        "outbound",
        "postgres",
        "realtime",
        "settings",
        "socketio",
        "storage",
        "web",
        "msgspec",
        "twisted",
        "zope",
    },
    # One server of several processes: the parent.
    "workers": {"base", "keys", "metrics", "postgres", "service", "settings", "msgspec", "treq", "twisted"},
    # What each of its workers runs.
    "worker": {"logs", "metrics", "service", "tap", "workers", "msgspec", "twisted", "zope"},
    # What twistd sees.
    "tap": {"base", "logs", "metrics", "service", "settings", "twisted", "workers"},
    # A library for programs that use a server, of ours or not.
    "client": {"base", "wire", "autobahn", "cryptography", "msgspec", "nacl", "treq", "twisted", "zope"},
    # The load tool: nothing of what it measures, and no Twisted to hold it back.
    "bench": {"msgspec", "nacl"},
    # Backups: one file with everything, and PostgreSQL's own programs that dump and load.
    "backup": {"base", "postgres", "storage", "msgspec", "psycopg2"},
    # The operator's command.
    "operator": {"backup", "base", "bench", "keys", "outbound", "postgres", "settings", "storage"}
    | {"click", "msgspec", "psycopg2", "rich", "twisted"},
}

NEVER = {
    "base": {"twisted.web"},
    "storage": {"twisted.web"},
    "capabilities": {"twisted.web", "happy.socketio.endpoint", "happy.socketio.websocket"},
    "api": {"twisted.web"},
    "realtime": {"twisted.web"},
}
"""Parts of what is allowed as a whole that must stay out of a room."""


class Import(NamedTuple):
    """One module's use of a name; ``running`` tells that it is imported when the program runs."""

    module: str
    name: str
    running: bool


def _module(path: Path) -> str:
    parts = ["happy", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path): path for path in sorted(ROOT.rglob("*.py"))}


def _imported(module: str, nodes: Iterable[ast.AST], running: bool = True) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, running) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{module} imports relatively"
            yield from (Import(module, f"{node.module}.{alias.name}", running) for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from _imported(module, node.body, False)
            yield from _imported(module, node.orelse, running)
        elif isinstance(node, (ast.stmt, ast.excepthandler, ast.match_case)):
            yield from _imported(module, ast.iter_child_nodes(node), running)


@cache
def imports() -> list[Import]:
    """Every import of the package, wherever in a file it stands."""
    return [
        one for module, path in MODULES.items() for one in _imported(module, ast.parse(path.read_text()).body)
    ]


def _room(name: str) -> str:
    """The room that a name belongs to, or somebody else's distribution."""
    top, _, rest = name.partition(".")
    if top != "happy":
        return f"{top} of the standard library" if top in ROOMS else top
    room = rest.partition(".")[0]
    return room if f"happy.{room}" in MODULES else ""


def _file(name: str) -> str | None:
    """The module of ours that is loaded for a name."""
    if name in MODULES:
        return name
    parent = name.rpartition(".")[0]
    return parent if parent in MODULES else None


def _arrows() -> dict[str, set[str]]:
    """The rooms that each room imports."""
    arrows: dict[str, set[str]] = {}
    for one in imports():
        above, below = _room(one.module), _room(one.name)
        if above != below and below in ROOMS:
            arrows.setdefault(above, set()).add(below)
    return arrows


def _circle(arrows: Mapping[str, Iterable[str]]) -> list[str] | None:
    """Some circle of a graph."""
    done: set[str] = set()

    def walk(node: str, way: list[str]) -> list[str] | None:
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return None
        for following in sorted(arrows.get(node, ())):
            found = walk(following, [*way, node])
            if found is not None:
                return found
        done.add(node)
        return None

    return next((found for node in sorted(arrows) if (found := walk(node, [])) is not None), None)


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_room(room: str) -> None:
    """A room imports the standard library, itself, and what its row lists."""
    allowed = ROOMS[room] | {room, ""} | {_room(name) for name in sys.stdlib_module_names}
    strays = {
        f"{one.module}: {one.name}"
        for one in imports()
        if _room(one.module) == room and _room(one.name) not in allowed
    }
    assert not strays


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_row_is_needed(room: str) -> None:
    """A row lists nothing that the room does not use."""
    assert ROOMS[room] <= {_room(one.name) for one in imports() if _room(one.module) == room}


@pytest.mark.parametrize("room", sorted(NEVER))
def test_never(room: str) -> None:
    """What must stay out of a room stays out."""
    prefixes = tuple(f"{prefix}." for prefix in NEVER[room])
    strays = {
        f"{one.module}: {one.name}"
        for one in imports()
        if _room(one.module) == room and f"{one.name}.".startswith(prefixes)
    }
    assert not strays


def test_every_room_has_a_row() -> None:
    """A new room comes with a decision about what it may import."""
    assert {_room(module) for module in MODULES} - {""} == set(ROOMS)


def test_no_circle_between_rooms() -> None:
    """Rooms stand above each other, types included."""
    assert _circle(_arrows()) is None


def _files(*, running: bool) -> dict[str, set[str]]:
    """The files that each file names; with ``running`` those that it loads."""
    arrows: dict[str, set[str]] = {}
    for one in imports():
        named = _file(one.name)
        if named is not None and named != one.module and (one.running or not running):
            arrows.setdefault(one.module, set()).add(named)
    return arrows


def test_no_circle_between_files() -> None:
    """No file needs itself to be loaded, however far around."""
    assert _circle(_files(running=True)) is None


def test_no_circle_of_types() -> None:
    """Files do not name each other's types either."""
    assert _circle(_files(running=False)) is None


DOCUMENT = (ROOT.parent / "docs" / "architecture.md").read_text()
TABLE = re.findall(r"^\| `(\w+)` \| .+ \| ([\d,]+) \| (.*)\|$", DOCUMENT, re.MULTILINE)
"""Of each room in the document: its name, about how many lines it has, and what it imports."""


def test_rooms_of_the_document() -> None:
    """The document has every room once, with what it imports, under all that import it."""
    assert sorted(room for room, _, _ in TABLE) == sorted(ROOMS)
    arrows, seen = _arrows(), set[str]()
    for room, _, names in TABLE:
        seen.add(room)
        assert set(re.findall(r"\w+", names)) == arrows.get(room, set()) - {"base", "metrics"}, room
        assert not seen & arrows.get(room, set()), room


def test_lines_of_the_document() -> None:
    """What it says about the size of a room is nearly so."""
    lines: Counter[str] = Counter()
    for module, path in MODULES.items():
        lines[_room(module)] += path.read_text().count("\n")
    said = {room: int(number.replace(",", "")) for room, number, _ in TABLE}
    assert {
        room: lines[room] for room in said if abs(said[room] - lines[room]) > 200 + lines[room] // 10
    } == {}


def test_ways_of_the_document() -> None:
    """Each way, a start and a stop are told in at most ten lines."""
    ways = re.findall(
        r"^## (The way of [^\n]+|A start|A stop)\n(.+?)(?=^## )", DOCUMENT, re.MULTILINE | re.DOTALL
    )
    assert len(ways) == 7
    for title, text in ways:
        assert len(re.findall(r"^(?:\d\. |   ).", text, re.MULTILINE)) in range(4, 11), title


def test_picture_of_the_document() -> None:
    """Its picture shows every room once, and no other."""
    drawn = re.findall(r'class="name"[^>]*>([^<]+)<', (ROOT.parent / "docs" / "architecture.svg").read_text())
    assert sorted(drawn) == sorted(ROOMS)


def test_circles_are_found() -> None:
    """A graph with a circle in it is not taken for one without."""
    assert _circle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == ["b", "d", "b"]
    assert _circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


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


OTHER_SIDES = {"client", "bench"}
"""Rooms that speak the protocol from the other side: what they name is the same things as seen from there."""


def _classes() -> Iterator[tuple[str, str]]:
    """Names of classes of our side, each with its module; protocols say what others need of such a class."""
    for module, path in MODULES.items():
        if _room(module) not in OTHER_SIDES:
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and "Protocol" not in map(ast.unparse, node.bases):
                    yield node.name, module


def test_names_are_used_once() -> None:
    """No two classes that others may see have one name."""
    found: dict[str, list[str]] = {}
    for name, module in _classes():
        if not name.startswith("_"):
            found.setdefault(name, []).append(module)
    assert {name: modules for name, modules in found.items() if len(modules) > 1} == {}


def test_no_global_reactor() -> None:
    """The reactor is handed around; nobody takes it when a module is loaded."""
    strays = []
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet":
                strays += [module for alias in node.names if alias.name == "reactor"]
    assert not strays


@pytest.mark.parametrize("folder", [ROOT, ROOT.parent / "tests"], ids=["package", "tests"])
def test_sizes(folder: Path) -> None:
    """No file is longer than 400 lines, and no function longer than 40."""
    long = []
    for path in folder.rglob("*.py"):
        text = path.read_text()
        if text.count("\n") > 400:
            long.append(str(path))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert node.end_lineno is not None
                if node.end_lineno - node.lineno + 1 > 40:
                    long.append(f"{path}: {node.name}")
    assert not long
