"""Commands of people who are somewhere else, or somebody else."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from happy.operator import ctl, deployment, inside
from tests.operator.test_backup import ENVIRONMENT, fails

everybody_but_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may use everything")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other server is found by chance, and nobody outside is asked."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(inside, "PUSH", ("127.0.0.1", 9))


@contextmanager
def closed(*paths: Path) -> Iterator[None]:
    """None of these can be used."""
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


@everybody_but_root
def test_somebody_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whose server it is not is told who may; nothing is said to be missing, or to be mended."""
    data = ("--data-dir", tmp_path)
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").touch()
    (tmp_path / "master-secret").touch(0o600)
    tmp_path.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "control.sock"))
        listening.listen()
        private = [tmp_path / name for name in ("postgres", "master-secret", "control.sock")]
        with closed(*private):
            for command in ("status", "accounts"):
                said = fails(capsys, command, *data, status=3)
                assert said.endswith("ermission denied; be root, or who runs the server\n")
            assert ctl.main(["doctor", "--json", *map(str, data)]) == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    found = {check["name"]: check["fix"] for check in checks}
    for name in ("server", "master secret", "database"):
        assert found[name] == "run this as root, or as who runs the server"


@everybody_but_root
def test_a_folder_that_is_closed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be seen, as for ``sudo -u happy`` in root's home, the package's server is meant."""
    settings = tmp_path / "happy.toml"
    settings.write_text(f'data-dir = "{tmp_path}/data"\n')
    monkeypatch.setattr(deployment, "PACKAGED", settings)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with closed(here):
        assert f"no server runs with the data folder {tmp_path}/data" in fails(capsys, "status", status=3)


def test_a_folder_that_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell whose folder somebody removed is told so."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    assert "is gone; cd to another one" in fails(capsys, "accounts")
    monkeypatch.chdir(tmp_path)
