"""One attack in each module: a function ``attack`` of a scene.

The docstring says what is sent, and what a right server does with it. The function returns a note of what
came of it, and raises ``Misbehaved`` where the answers that the attacker gets are wrong themselves.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from tests.hostile.scene import Scene

Attack = Callable[[Scene], str]


def names() -> list[str]:
    """All attacks."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def find(name: str) -> Attack:
    """The attack of that name."""
    module = importlib.import_module(f"{__name__}.{name}")
    found: Attack = module.attack
    return found
