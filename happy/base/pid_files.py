"""Files with a process id that their process did not live to remove, as after a power cut.

Such a number is soon somebody else's. twistd would take that process for another server of ours.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_SLACK = 2.0
"""Seconds by which a process may seem to have begun after it wrote its file."""


def forget_stale(file: Path, program: str) -> None:
    """Remove a file that cannot be that of a running ``program``, as far as the system tells.

    It is stale if it holds no number, if the process of that number runs something else, or began after the
    file was written. In doubt it stays.
    """
    with suppress(OSError):
        if _is_stale(file, program.encode()):
            file.unlink()


def _is_stale(file: Path, program: bytes) -> bool:
    """Raises OSError where nothing can be known."""
    written = file.stat().st_mtime
    text = file.read_bytes().strip()
    if not text.isdigit():
        return True
    folder = Path("/proc", text.decode())
    if not Path("/proc/self").exists():
        return False
    if int(text) == os.getpid() or not folder.exists():
        return True
    command = (folder / "cmdline").read_bytes()
    return program not in command or _began(folder) > written + _SLACK


def _began(folder: Path) -> float:
    """When a process began, in epoch seconds as the wall clock has it."""
    ticks = int((folder / "stat").read_text().rpartition(")")[2].split()[19])
    lines = Path("/proc/stat").read_text().splitlines()
    booted = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
    return booted + ticks / os.sysconf("SC_CLK_TCK")
