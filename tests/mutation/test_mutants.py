"""What is tried, and what is not."""

from __future__ import annotations

import pytest

pytest.importorskip("cosmic_ray")

from tests.mutation.modules import MODULES, ROOT, chosen_tests, named, source_of
from tests.mutation.mutants import mutants

SOURCE = """\
LIMIT = 16 * 1024

@dataclass(frozen=True, kw_only=True)
class One:
    size: int | None = None

def small(size: int, *, most: int | None = None) -> bool:
    return size < LIMIT and size != most
"""


@pytest.mark.parametrize("module", MODULES)
def test_table(module: str) -> None:
    """Every module is there, has tests, and those that are named for it exist."""
    assert (ROOT / source_of(module)).is_file()
    found = chosen_tests(module)
    assert found
    assert {stem for stem in MODULES[module] if not any(f"/{stem}.py" in file for file in found)} == set()


def test_names_of_rooms() -> None:
    """A room's name stands for its modules, and the name of a module for that one."""
    assert named(["happy.base", "happy.wire.chunks"]) == ["happy.base.pace", "happy.wire.chunks"]
    assert named(["happy.wire"]) == [one for one in MODULES if one.startswith("happy.wire.")]


def test_what_behaves_differently() -> None:
    """Each change is one of behaviour, in one line; types, decided numbers and promises stay."""
    tried = {(one.line, one.after) for one in mutants(SOURCE)}
    assert tried == {
        (8, "return size <= LIMIT and size != most"),
        (8, "return size > LIMIT and size != most"),
        (8, "return size < LIMIT and size == most"),
        (8, "return size < LIMIT or size != most"),
    }


def test_one_change_each() -> None:
    """Nothing but that line changes."""
    for one in mutants(SOURCE):
        lines = zip(SOURCE.splitlines(), one.text.splitlines(), strict=True)
        changed = [(before.strip(), after.strip()) for before, after in lines if before != after]
        assert changed == [(one.before, one.after)]
