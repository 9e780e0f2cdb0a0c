"""Folders that settings name."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.logger import capturedLogs

from happy.service.named_folders import check_webapp
from happy.settings.config import Config
from happy.settings.declaration import BadSetting


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
