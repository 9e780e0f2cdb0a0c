"""The client as a package: what it offers, and what it needs."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import happy.client

OWN = ("happy.client", "happy.base.codecs", "happy.wire")


def imports_of(module: Path) -> set[str]:
    """The modules of this project that a module imports."""
    tree = ast.parse(module.read_text("utf-8"))
    named = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    plain = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    return {name for name in named | plain if name.partition(".")[0] == "happy"}


def test_independent_of_the_server() -> None:
    """The client shares encodings with the server and nothing else, so that it checks the server."""
    folder = Path(happy.client.__file__).parent
    for module in folder.glob("*.py"):
        assert all(name.startswith(OWN) for name in imports_of(module)), module.name


def test_public_names() -> None:
    """Everything that the package offers is documented, with every public method."""
    for name in happy.client.__all__:
        offered = getattr(happy.client, name)
        assert offered.__doc__, name
        for method, function in inspect.getmembers(offered, inspect.isfunction):
            assert method.startswith("_") or function.__doc__, f"{name}.{method}"
