"""Processes of this machine, read from Linux's ``/proc``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_LISTENING = "0A"
_REDIS = {"redis-server", "valkey-server"}
_PAGE = os.sysconf("SC_PAGE_SIZE")


def listener(port: int) -> int | None:
    """The process that listens on a TCP port; None if it cannot be seen."""
    return next(iter(listeners(port)), None)


def listeners(port: int) -> list[int]:
    """All processes that listen on a TCP port, or keep it open for others, as far as they can be seen."""
    inodes = {inode for table in ("tcp", "tcp6") for inode in _listening(table, port)}
    wanted = {f"socket:[{inode}]" for inode in inodes}
    return [pid for pid in sorted(_pids()) if wanted and _has_descriptor(pid, wanted)]


def _listening(table: str, port: int) -> Iterator[str]:
    try:
        lines = (_PROC / "net" / table).read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
            yield fields[9]


def _pids() -> list[int]:
    try:
        return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    except OSError:
        return []


def _has_descriptor(pid: int, wanted: set[str]) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return any(os.readlink(entry.path) in wanted for entry in entries)
    except OSError:
        return False


def _fields(pid: int) -> list[str]:
    """Fields of ``stat`` from the state (the third) on. Raises OSError for a process that is gone."""
    text = (_PROC / str(pid) / "stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def runs(pid: int) -> bool:
    """Whether a process is there, and not just waiting to be reaped."""
    try:
        return _fields(pid)[0] not in {"Z", "X"}
    except OSError:
        return False


def state(pid: int) -> str:
    """What it is doing, in the letters of ``ps``; empty for a process that is gone."""
    try:
        return _fields(pid)[0]
    except OSError:
        return ""


def name(pid: int) -> str:
    """The command's name; empty for a process that is gone."""
    try:
        return (_PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""


def parents() -> dict[int, int]:
    """The parent of every process."""
    found = {}
    for pid in _pids():
        try:
            found[pid] = int(_fields(pid)[1])
        except OSError:
            continue
    return found


def children(pid: int, parent_of: dict[int, int]) -> list[int]:
    """The direct children of a process."""
    return [child for child, parent in parent_of.items() if parent == pid]


def cpu_seconds(pid: int, *, with_reaped: bool = False) -> float:
    """CPU time so far, all threads; ``with_reaped`` adds that of children that ended. 0 if it is gone."""
    try:
        fields = _fields(pid)
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11 : 15 if with_reaped else 13]) / _TICKS


def resident_bytes(pid: int) -> int:
    """Memory in RAM. 0 if the process is gone."""
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def open_files(pid: int) -> int:
    """How many files and connections it has open. 0 if that cannot be seen."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def proportional_bytes(pid: int) -> int:
    """Memory in RAM with shared pages divided among those who share; falls back to all of it."""
    try:
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resident_bytes(pid)


def postmaster(server: int) -> int | None:
    """The PostgreSQL that belongs to a server: its descendant, else the only one on this machine."""
    parent_of = parents()
    found = [pid for pid in parent_of if name(pid) == "postgres" and name(parent_of[pid]) != "postgres"]
    own = [pid for pid in found if server in _ancestors(pid, parent_of)]
    if own:
        return own[0]
    return found[0] if len(found) == 1 else None


def redis() -> list[int]:
    """The Redis or Valkey servers of this machine."""
    return [pid for pid in _pids() if name(pid) in _REDIS]


def _ancestors(pid: int, parent_of: dict[int, int]) -> Iterator[int]:
    while pid in parent_of:
        pid = parent_of[pid]
        yield pid
