"""Files with a process id that outlived their process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from happy.base.pid_files import forget_stale

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="nothing tells of processes")
WAIT = "import sys; print(flush=True); sys.stdin.read()"


def kept(file: Path, content: str, age: float = 0.0) -> bool:
    """Whether a file with this content, written so many seconds ago, stays."""
    file.write_text(content)
    written = file.stat().st_mtime - age
    os.utime(file, (written, written))
    forget_stale(file, "twistd")
    return file.exists()


def test_stale(tmp_path: Path) -> None:
    """No number, nobody's number, our own number, and that of another program."""
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    file = tmp_path / "twistd.pid"
    for content in ("", "\0\0\0\0", "x", str(gone.pid), str(os.getpid()), "1"):
        assert not kept(file, content), content
    forget_stale(file, "twistd")


def test_living(tmp_path: Path) -> None:
    """The same program's keeps its file, unless it began after the file was written."""
    command = [sys.executable, "-c", WAIT, "twistd"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as living:
        assert living.stdout is not None
        living.stdout.readline()
        file = tmp_path / "twistd.pid"
        assert kept(file, f"{living.pid}\n")
        assert not kept(file, str(living.pid), age=3600)
        living.communicate()
