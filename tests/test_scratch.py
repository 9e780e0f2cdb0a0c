"""The folder in memory that the tests work in."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests import scratch

HOLD = """
import sys
from pathlib import Path
from tests import scratch
scratch.MEMORY = Path(sys.argv[1])
made = scratch.Scratch()
print(made.folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder instead of the system's memory; what the tests themselves use stays as it is."""
    monkeypatch.setattr(scratch, "MEMORY", tmp_path)
    monkeypatch.setattr(scratch, "ROOM", 1)
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)
    monkeypatch.delenv("TMPDIR", raising=False)
    return tmp_path


def test_used_and_removed(memory: Path) -> None:
    """Temporary files go there, those of programs too, and are gone in the end."""
    made = scratch.in_memory()
    assert made is not None
    assert made.folder.parent == memory
    assert os.environ["TMPDIR"] == tempfile.gettempdir() == str(made.folder)
    (made.folder / "file").touch()
    made.remove()
    assert list(memory.iterdir()) == []


def test_not_used(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made where there is no room, or another place is wanted."""
    monkeypatch.setattr(scratch, "ROOM", 1 << 80)
    assert scratch.in_memory() is None
    monkeypatch.setattr(scratch, "MEMORY", memory / "nowhere")
    assert scratch.in_memory() is None
    monkeypatch.undo()
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert scratch.in_memory() is None
    assert list(memory.iterdir()) == []


def test_what_a_killed_process_left(memory: Path) -> None:
    """It is removed; the folder of one that runs is left alone."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, memory],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
        text=True,
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        scratch.remove_abandoned()
        assert folder.exists()
        process.kill()
    scratch.remove_abandoned()
    assert not folder.exists()
