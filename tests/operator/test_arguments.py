"""Whatever is typed after happyctl: one of four exit statuses, and a line instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.operator import ctl
from tests.operator.case import run

NOT_TRIED = frozenset({"bench", "restore", "--watch"})
"""What takes long or goes on."""


def words(command: click.Command) -> set[str]:
    """The names of a command's options and commands, and of those in turn."""
    found = {option for one in command.params if isinstance(one, click.Option) for option in one.opts}
    for name, inner in getattr(command, "commands", {}).items():
        found |= {name} | words(inner)
    return found


WORDS = sorted(words(ctl.happyctl) - NOT_TRIED)
COMMANDS = sorted(set(ctl.happyctl.commands) - NOT_TRIED)
ODD = st.sampled_from(["", "-", "--", "0", "-1", "90d", "1e9", "é", "\udcff", "x" * 5000, "--=", "--json=1"])
TYPED = (
    st.sampled_from(WORDS) | ODD | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
)


@pytest.fixture(scope="module", autouse=True)
def _nowhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No server is found by chance, and no file is written beside the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("nowhere"))
        for name in ("HAPPY_CONFIG", "DATA_DIR", "DATABASE_URL"):
            patch.delenv(name, raising=False)
        yield


@given(st.sampled_from(COMMANDS), st.lists(TYPED, max_size=5))
def test_arguments(command: str, typed: list[str]) -> None:
    """No server runs and none has data here: whatever is asked for is answered, and nothing breaks."""
    ran = run([command, *typed])
    assert ran.status in (0, 1, 2, 3), ran
    assert "Traceback" not in ran.err
    assert ran.status == 0 or ran.err or ran.out
    assert Path.cwd().name.startswith("nowhere")
