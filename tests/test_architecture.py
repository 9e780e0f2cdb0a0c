"""Who may import whom, read from the source.

A new dependency between packages is a decision; here it becomes visible. What is not listed is not allowed.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "happy"

LEAVES = {
    "happy.bounds",
    "happy.driving",
    "happy.errors",
    "happy.faults",
    "happy.private",
    # Time, what lasts or repeats, and what is kept for a while.
    "happy.caches",
    "happy.clocks",
    "happy.rounds",
    "happy.trouble",
    "happy.waiting",
    # What operating systems tell.
    "happy.untaken",
    "happy.threads",
}
"""Modules that every package but ``wire`` may use."""

ALLOWED = {
    # Formats and rules, without input or output: another project could lift it out.
    "wire": {"msgspec"},
    # SQL and its machinery; knows neither clients nor transports.
    "storage": LEAVES | {"happy.ids", "happy.metrics", "msgspec", "psycopg2", "twisted", "txpostgres"},
    # The child process, and connecting to it.
    "postgres": LEAVES | {"happy.storage", "twisted", "zope"},
    # Third parties; knows nothing of our own clients.
    "outbound": LEAVES
    | {"PIL", "happy", "happy.codecs", "happy.config", "happy.metrics"}
    | {"minio", "msgspec", "treq", "twisted", "urllib3", "zope"},
    # Clients that stay connected.
    "realtime": LEAVES
    | {"happy.capabilities", "happy.ids", "happy.metrics", "happy.server", "happy.storage", "happy.wire"}
    | {"_nvx_xormasker", "autobahn", "msgspec", "prometheus_client", "twisted", "zope"},
    # What the server offers: independent of HTTP and of sockets.
    "capabilities": LEAVES
    | {"happy.codecs", "happy.config", "happy.outbound", "happy.realtime", "happy.sealing", "happy.server"}
    | {"happy.storage", "happy.tokens", "happy.wire", "msgspec", "twisted"},
    # The declarations once more, for readers.
    "contract": LEAVES
    | {"happy", "happy.capabilities", "happy.realtime", "happy.web", "happy.wire", "msgspec"},
    # HTTP.
    "web": LEAVES | {"happy.capabilities", "happy.config", "happy.server", "happy.wire", "twisted", "zope"},
    # A library for programs that use a server, of ours or not.
    "client": {"autobahn", "cryptography", "happy.codecs", "happy.wire", "msgspec", "nacl"}
    | {"treq", "twisted", "zope"},
    # What may be written into the log, and how much of it.
    "logs": LEAVES | {"twisted", "zope"},
    # The load tool: nothing of what it measures, and no Twisted to hold it back.
    "bench": {"happy", "msgspec", "nacl"},
}

FORBIDDEN = {
    "capabilities": ("autobahn", "twisted.web", "happy.web", "happy.realtime.endpoint"),
    "realtime": ("happy.web",),
    "storage": ("twisted.web",),
    "web": ("happy.realtime", "happy.storage"),
}
"""Parts of what is allowed as a whole, or what must stay apart above all."""

APPLICATION = "application.py"
"""The one module of ``realtime`` that knows what the server offers; the others are a general transport."""


def _modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    """The full names of what a module imports, wherever it does so."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path.name} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _unit(name: str) -> str:
    """What an import counts as: our own module or package, or somebody else's distribution."""
    parts = name.split(".")
    if parts[0] != "happy" or len(parts) == 1:
        return parts[0]
    return ".".join(parts[:2]) if (ROOT / parts[1]).exists() or _is_module(parts[1]) else "happy"


def _is_module(name: str) -> bool:
    return (ROOT / f"{name}.py").exists()


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports(package: str) -> None:
    """A package imports the standard library, itself, and what its row lists."""
    allowed = ALLOWED[package] | {f"happy.{package}"} | set(sys.stdlib_module_names)
    strays = {
        f"{path.name}: {name}"
        for path in _modules(package)
        for name in _imports(path)
        if _unit(name) not in allowed
    }
    assert not strays


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_rows_are_needed(package: str) -> None:
    """A row lists nothing that the package does not use."""
    used = {_unit(name) for path in _modules(package) for name in _imports(path)}
    assert used >= ALLOWED[package] - LEAVES


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_forbidden(package: str) -> None:
    """What must stay apart stays apart."""
    strays = {
        f"{path.name}: {name}"
        for path in _modules(package)
        for name in _imports(path)
        if f"{name}.".startswith(tuple(f"{prefix}." for prefix in FORBIDDEN[package]))
    }
    assert not strays


def test_transport_knows_no_capabilities() -> None:
    """Only the application on top of the realtime transport knows the capabilities."""
    strays = {
        f"{path.name}: {name}"
        for path in _modules("realtime")
        if path.name != APPLICATION
        for name in _imports(path)
        if _unit(name) == "happy.capabilities"
    }
    assert not strays


def test_somebody_pays_for_every_call_of_the_database() -> None:
    """A capability says whose share of the database a call comes from; otherwise it is the server's own."""
    strays = []
    for path in _modules("capabilities"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Attribute(attr="database"), attr="read" | "transact")
                ):
                    named = {keyword.arg for keyword in node.keywords}
                    strays += [] if named & {"owner", "accounts"} else [f"{path.name}:{node.lineno}"]
    assert not strays


def test_every_package_has_a_row() -> None:
    """A new package comes with a decision about its dependencies."""
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= set(ALLOWED)


def test_no_global_reactor() -> None:
    """The reactor is handed around; nobody takes it when a module is loaded."""
    strays = []
    for path in ROOT.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet":
                strays += [path.name for alias in node.names if alias.name == "reactor"]
    assert not strays
