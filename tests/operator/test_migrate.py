"""Migrations by command, and the copy that is made first, by the command and by a start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from happy.backup.archive import Archive
from happy.operator import ctl
from happy.storage.migrate import load_migrations
from tests.harness import psql, restore, scratch_database
from tests.live.test_takeover import DUMP
from tests.operated import operated
from tests.operator.test_backup import SECRET

LAST = load_migrations()[-1].version
OWN = [migration.name for migration in load_migrations()[1:]]


@pytest.fixture
def original(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database that the original server made, with people's data."""
    for name in ("HAPPY_CONFIG", "DATA_DIR", "DATABASE_URL", "HANDY_MASTER_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with scratch_database(migrated=False) as dsn:
        restore(dsn, DUMP)
        yield dsn


def migrated(capsys: pytest.CaptureFixture[str], dsn: str, folder: Path, *more: str) -> Any:
    """What the command answers."""
    given = ["migrate", "--database-url", dsn, "--data-dir", str(folder), "--json", *more]
    assert ctl.main(given) == 0
    return json.loads(capsys.readouterr().out)


def test_by_command(original: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run changes nothing; another one saves what there was, for the way back, and leaves nothing."""
    wanted = {"from": 1, "to": LAST, "pending": OWN, "lost": []}
    assert migrated(capsys, original, tmp_path, "--dry-run") == wanted
    assert not list(tmp_path.iterdir())
    assert migrated(capsys, original, tmp_path) == wanted
    assert migrated(capsys, original, tmp_path) == {"from": LAST, "to": LAST, "pending": [], "lost": []}
    (path,) = (tmp_path / "backups").iterdir()
    assert path.name == "before-0002.tar"
    assert path.stat().st_mode & 0o777 == 0o600
    assert Archive(path).manifest.migration == 1
    with scratch_database(migrated=False) as back:
        given = ["restore", str(path), "--database-url", back, "--data-dir", str(tmp_path / "new")]
        assert ctl.main(given) == 0
        assert "master secret" in capsys.readouterr().out
        assert psql(back, "SELECT to_regclass('happy_migrations')") == [(None,)]
        assert migrated(capsys, back, tmp_path, "--dry-run") == wanted


def test_by_a_start(original: str, tmp_path: Path) -> None:
    """A start says which versions, saves what there is, and keeps three copies."""
    folder = tmp_path / "data" / "backups"
    folder.mkdir(parents=True)
    for number in (1, 0, 3):
        (folder / f"before-000{number}.tar").touch()
    given = {"METRICS_ENABLED": "false", "DATABASE_URL": original, "HANDY_MASTER_SECRET": SECRET}
    with operated(tmp_path, environment=given) as server:
        server.start()
        assert f"from migration 1 to {LAST}" in server.log
        assert server.stop()[0] == 0
        assert {path.name for path in folder.iterdir()} == {f"before-000{n}.tar" for n in (1, 2, 3)}
        assert Archive(folder / "before-0002.tar").manifest.migration == 1


def test_no_room(original: str, tmp_path: Path) -> None:
    """What cannot be saved is not changed, and a line says how to go on."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "backups").touch()
    given = {"METRICS_ENABLED": "false", "DATABASE_URL": original, "HANDY_MASTER_SECRET": SECRET}
    with operated(tmp_path, environment=given) as server:
        with pytest.raises(RuntimeError):
            server.start()
        assert "could not be saved before its migration, and was not changed" in server.log
        assert psql(original, "SELECT to_regclass('happy_migrations')") == [(None,)]


def test_a_database_of_a_later_version(original: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What this version must not touch is refused with a line."""
    psql(original, "CREATE TABLE happy_migrations (version integer, name text)")
    psql(original, "INSERT INTO happy_migrations VALUES (9999, '9999-later')")
    assert ctl.main(["migrate", "--database-url", original]) == 1
    assert "a newer version" in capsys.readouterr().err
