"""The file with addresses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from happy.base.errors import StartupError
from happy.logs.auth_log import MINUTE, MOST, SAME, AuthLog, open_auth_log


class Time:
    """A clock that a test puts forward."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_lines(tmp_path: Path) -> None:
    """A refusal is a line; a file that was moved away is followed by a new one when it is asked for."""
    path = tmp_path / "auth.log"
    log = AuthLog(path, lambda: 1_769_860_800.25, Time())
    log.note("192.0.2.1", "token of another secret")
    path.rename(tmp_path / "old")
    log.note("2001:db8::/64", "wrong signature")
    log.reopen()
    log.note("192.0.2.3", "too many logins")
    log.stop()
    assert (tmp_path / "old").read_text().splitlines() == [
        "2026-01-31T12:00:00Z refused 192.0.2.1: token of another secret",
        "2026-01-31T12:00:00Z refused 2001:db8::/64: wrong signature",
    ]
    assert path.read_text() == "2026-01-31T12:00:00Z refused 192.0.2.3: too many logins\n"
    assert path.stat().st_mode & 0o007 == 0


def test_bounds(tmp_path: Path) -> None:
    """Nobody fills the disk: an address has so many lines a minute, and all have so many."""
    path, time = tmp_path / "auth.log", Time()
    log = AuthLog(path, lambda: 0.0, time)
    for _ in range(1000):
        log.note("192.0.2.1", "r")
    assert path.read_text().count("\n") == SAME
    for number in range(2 * MOST):
        log.note(f"address {number}", "r")
    assert path.read_text().count("\n") == MOST
    time.at = MINUTE
    log.note("192.0.2.1", "r")
    assert path.read_text().count("\n") == MOST + 1
    log.stop()


def test_cannot_be_opened(tmp_path: Path) -> None:
    """At the start that is an error; later what is open has to do."""
    with pytest.raises(StartupError, match="auth-log: .* cannot be written: No such file or directory"):
        open_auth_log(tmp_path / "none" / "auth.log", Time(), Time())
    folder = tmp_path / "logs"
    folder.mkdir()
    log = AuthLog(folder / "auth.log", Time(), Time())
    (folder / "auth.log").rename(tmp_path / "kept")
    folder.rmdir()
    log.reopen()
    log.note("192.0.2.1", "r")
    log.stop()
    assert (tmp_path / "kept").read_text().endswith("refused 192.0.2.1: r\n")


def test_full_disk() -> None:
    """A disk without room hurts nobody."""
    log = AuthLog(Path("/dev/full"), Time(), Time())
    log.note("192.0.2.1", "r")
    log.stop()
    assert os.path.exists("/dev/full")
