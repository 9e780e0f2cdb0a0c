"""Folders that settings name."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from twisted.logger import capturedLogs

from happy.service.named_folders import check_data, check_webapp, hold_data
from happy.settings.config import Config
from happy.settings.declaration import BadSetting


@contextmanager
def closing_later(handle: int) -> Iterator[int]:
    """A descriptor that is closed with the context."""
    try:
        yield handle
    finally:
        os.close(handle)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use everything")
@pytest.mark.parametrize("where", ["data", "locked/data"])
def test_data_of_somebody_else(tmp_path: Path, where: str) -> None:
    """A data folder that this user may not use is told with the command that mends it."""
    folder = tmp_path / where
    folder.mkdir(parents=True)
    closed = folder if where == "data" else folder.parent
    closed.chmod(0)
    try:
        with pytest.raises(BadSetting, match=f"data-dir: user id {os.geteuid()} may not use .*: chown"):
            check_data(Config(data_dir=folder))
    finally:
        closed.chmod(0o700)


def test_data(tmp_path: Path) -> None:
    """A folder of one's own, and one that is not there yet."""
    check_data(Config(data_dir=tmp_path))
    check_data(Config(data_dir=tmp_path / "missing" / "data"))


def test_no_folder(tmp_path: Path) -> None:
    """A file is told to be one."""
    file = tmp_path / "data"
    file.touch()
    with pytest.raises(BadSetting, match=f"data-dir: {file} is a file"):
        check_data(Config(data_dir=file))


def test_a_restore_under_way(tmp_path: Path) -> None:
    """No server starts in a folder that is being filled, and none is filled that a server has."""
    config = Config(data_dir=tmp_path)
    hold_data(Config(data_dir=tmp_path / "missing"))()
    with closing_later(os.open(tmp_path, os.O_RDONLY)) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(BadSetting, match=f"a backup is being restored into {tmp_path}; start when"):
            hold_data(config)
        fcntl.flock(handle, fcntl.LOCK_UN)
        let_go = hold_data(config)
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        let_go()
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_webapp(tmp_path: Path) -> None:
    """A folder must be there; its page may come later."""
    check_webapp(Config())
    for wrong in (tmp_path / "missing", Path(__file__)):
        with pytest.raises(BadSetting, match=f"webapp: {wrong} is no folder"):
            check_webapp(Config(webapp=wrong))
    with capturedLogs() as events:
        check_webapp(Config(webapp=tmp_path))
    assert [event["log_level"].name for event in events] == ["warn"]
    (tmp_path / "index.html").write_text("<html>")
    with capturedLogs() as events:
        check_webapp(Config(webapp=tmp_path))
    assert not events
