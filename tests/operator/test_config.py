"""``happyctl config``: what the settings are, without anything being started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from happy.operator import ctl


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting comes from the machine."""
    for name in ("HAPPY_CONFIG", "DATA_DIR", "DATABASE_URL", "HANDY_MASTER_SECRET"):
        monkeypatch.delenv(name, raising=False)


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names, values and sources, with secrets masked; the folder is not made."""
    data = tmp_path / "data"
    assert ctl.main(["config", "check", "--json", "--data-dir", str(data)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"settings", "warnings"}
    assert {"name": "data-dir", "value": str(data), "source": "the option --data-dir"} in found["settings"]
    assert not data.exists()
    data.mkdir()
    (data / "master-secret").write_text("geheim")
    assert ctl.main(["config", "check", "--data-dir", str(data)]) == 0
    said = capsys.readouterr().out
    assert f"the file {data / 'master-secret'}" in said
    assert "geheim" not in said


def test_check_of_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would keep a server from starting is told with exit status 1; what would not, with 0."""
    monkeypatch.setenv("HAPPY_LISTENS", "x")
    assert ctl.main(["config", "check"]) == 0
    assert "warn" in capsys.readouterr().out
    monkeypatch.setenv("PORT", "many")
    assert ctl.main(["config", "check"]) == 1
    assert "FAIL port: 'many'" in capsys.readouterr().out


def test_example(capsys: pytest.CaptureFixture[str]) -> None:
    """The output is the file."""
    assert ctl.main(["config", "example"]) == 0
    said = capsys.readouterr().out
    assert '#data-dir = "data"\n' in said
    assert ctl.main(["config", "example", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"].strip() == said.strip()
