"""What of the libraries is used although it is theirs alone: each name, where, and that it is still there.

That each short cut is taken is in the tests of its module, and in ``tests/live/test_shortcuts.py``.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
from pathlib import Path
from typing import Any, Generic

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from prometheus_client import Counter, Histogram
from twisted.internet import tcp, unix
from twisted.internet.base import ReactorBase
from twisted.internet.epollreactor import EPollReactor
from twisted.logger import FileLogObserver
from twisted.scripts._twistd_unix import UnixApplicationRunner
from twisted.web.http import HTTPChannel

PACKAGE = Path(__file__).parents[1] / "happy"


class Measures(Counter, Histogram):
    """Both kinds of metrics that we have our own form of."""


USED: dict[str, tuple[type[Any], set[str]]] = {
    "happy.base.clocks": (ReactorBase, {"_newTimedCalls", "_pendingTimedCalls"}),
    "happy.base.untaken": (tcp.Server, {"_tempDataLen"}),
    "happy.metrics": (Measures, {"_buckets", "_metric_init", "_samples", "_sum", "_upper_bounds", "_value"}),
    "happy.logs.forms": (FileLogObserver, {"_outFile"}),
    "happy.service.background": (UnixApplicationRunner, {"_waitForStart"}),
    "happy.service.eager": (
        tcp.Server,
        {"_isSendBufferFull", "_tempDataBuffer", "_tempDataLen", "_writeDisconnected"},
    ),
    "happy.service.place": (unix.Port, {"_fromListeningDescriptor"}),
    "happy.service.turns": (
        EPollReactor,
        {"_disconnectSelectable", "_doReadOrWrite", "_poller", "_selectables"},
    ),
    "happy.socketio.upgrade": (HTTPChannel, {"_dataBuffer"}),
    "happy.socketio.websocket": (
        WebSocketServerProtocol,
        {"_results", "_transport_details", "_valid_events", "_wskey"},
    ),
    "happy.web.channel": (
        HTTPChannel,
        {
            "_command",
            "_finishRequestBody",
            "_handlingRequest",
            "_networkProducer",
            "_path",
            "_transferDecoder",
            "_version",
            "_waitingForTransport",
        },
    ),
    "happy.web.streaming": (HTTPChannel, {"_waitingForTransport"}),
    "happy.web.fastrequests": (HTTPChannel, {"_handlingRequest", "_savedTimeOut"}),
}
"""By module the class of the library, and the names."""

IMPORTED = {
    "_IdentityTransferDecoder",
    "_nvx_xormasker",
}
"""What is imported, which fails by itself when it goes, or has a way around."""

STANDARD = {"_ArgumentGroup", "_asdict", "_exit"}
"""Documented names of the standard library."""

EVERY = [(module, kind, name) for module, (kind, names) in USED.items() for name in sorted(names)]


@pytest.mark.parametrize(("module", "kind", "name"), EVERY, ids=[f"{one[0]}-{one[2]}" for one in EVERY])
def test_still_there(module: str, kind: type[Any], name: str) -> None:
    """The library has the name, and we still use it."""
    assert re.search(rf"\bself\.{name}\b|\b{name}\b\s*[:=(]", library(kind))
    assert re.search(rf"\b{name}\b", source_of(module))


def test_no_others() -> None:
    """Nobody uses a private name that is defined nowhere in the package, but those of the table."""
    own = set().union(*(defined(tree) for _, tree in trees()))
    table = {(module, name) for module, _, name in EVERY}
    foreign = {(module, name) for module, tree in trees() for name in used(tree) - own - STANDARD}
    assert foreign <= table
    assert {name for _, tree in trees() for name in imported(tree)} == IMPORTED


def test_own_names_are_not_theirs() -> None:
    """What our classes call their own is not something that the class of the library below has as well."""
    for module, (kind, names) in USED.items():
        ours = defined(ast.parse(source_of(module))) - names
        theirs = set(re.findall(r"\bself\.(_\w+)", library(kind)))
        assert ours & theirs == set(), module


@functools.cache
def library(kind: type[Any]) -> str:
    """The source of a class and of those below it."""
    return "\n".join(inspect.getsource(base) for base in kind.__mro__ if base not in (object, Generic))


def source_of(module: str) -> str:
    return (PACKAGE.parent / (module.replace(".", "/") + ".py")).read_text()


@functools.cache
def trees() -> list[tuple[str, ast.Module]]:
    """Every module, and what is in it."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        dotted = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        found.append((dotted, ast.parse(file.read_text())))
    return found


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def used(tree: ast.Module) -> set[str]:
    """Private attributes of anything."""
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_private(node.attr)}


def defined(tree: ast.Module) -> set[str]:
    """Private names that classes and functions here make."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Attribute(attr=name, ctx=ast.Store(), value=ast.Name(id="self")):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.Tuple() if all(isinstance(one, ast.Constant) for one in node.elts):
                found |= {str(one.value) for one in node.elts if isinstance(one, ast.Constant)}
    return {name for name in found if is_private(name)}


def imported(tree: ast.Module) -> set[str]:
    """Private names that come from elsewhere."""
    return {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if is_private(alias.name) and not (getattr(node, "module", None) or "").startswith("happy")
    }
