"""The log file of development builds."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from twisted.logger import Logger, LogPublisher

from happy.debug_file import DebugFile
from happy.errors import StartupError

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


def test_cannot_write(tmp_path: Path) -> None:
    """A folder that cannot be made stops the start with a line that names the setting."""
    (tmp_path / "logs").write_text("in the way")
    with pytest.raises(StartupError, match="debug-log: cannot write"):
        DebugFile(tmp_path / "logs").start(NOW)
