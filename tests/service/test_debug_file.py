"""The log file of development builds."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from twisted.logger import Logger, LogPublisher

from happy.base.errors import StartupError
from happy.service import debug_file
from happy.service.debug_file import DebugFile

NOW = datetime(2026, 1, 31, 12, 30, 59)


def test_copies_the_log(tmp_path: Path) -> None:
    """Everything logged between start and stop is in the file of that start, for its owner's eyes only."""
    publisher = LogPublisher()
    file = DebugFile(tmp_path / "logs", publisher)
    log = Logger(observer=publisher)
    file.start(NOW)
    log.info("hello {name}", name="\udc80 world")
    file.stop()
    log.info("too late")
    [path] = (tmp_path / "logs").iterdir()
    assert path.name == "01-31-12-30-59.log"
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert "hello \\udc80 world" in text
    assert "too late" not in text


def test_workers(tmp_path: Path) -> None:
    """Workers that start in the same second write into files of their own."""
    files = [DebugFile(tmp_path / "logs", LogPublisher()) for _ in range(2)]
    for number, file in enumerate(files, 1):
        file.start(NOW, f"w{number}")
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == [
        "01-31-12-30-59-w1.log",
        "01-31-12-30-59-w2.log",
    ]
    for file in files:
        file.stop()


def test_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file that is full so many are kept, all private, whatever is logged."""
    monkeypatch.setattr(debug_file, "FILE_SIZE", 1000)
    publisher = LogPublisher()
    file = DebugFile(tmp_path / "logs", publisher)
    file.start(NOW)
    for number in range(500):
        Logger(observer=publisher).info("line {number}", number=number)
    file.stop()
    kept = sorted((tmp_path / "logs").iterdir())
    assert len(kept) == 1 + debug_file.FILES_KEPT
    assert "line 499" in kept[0].read_text()
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "logs", *kept)} == {0}
    assert sum(path.stat().st_size for path in kept) < 5000


def test_cannot_write(tmp_path: Path) -> None:
    """A folder that cannot be made stops the start with a line that names the setting."""
    (tmp_path / "logs").write_text("in the way")
    with pytest.raises(StartupError, match="debug-log: cannot write"):
        DebugFile(tmp_path / "logs").start(NOW)
