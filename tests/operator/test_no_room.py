"""Commands that find no room on the disk, and are run again when there is some."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from happy.keys.tokens import Keys
from tests.harness import psql, scratch_database
from tests.operator.test_backup import ENVIRONMENT, SECRET, finds_no_room, run
from tests.operator.test_cleanup import FILL

KNOWN = """
INSERT INTO "happy_secrets" ("publicKey", "createdAt", "since") VALUES (%s, now(), now())
"""


@pytest.fixture
def dsn(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database, and no other server that is found by chance."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    with scratch_database() as dsn:
        yield dsn


def test_import(
    dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account whose files find no place does not come; when they do, it does.

    It is written where it is wanted: what is for temporary files may be small, or closed as in a container.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    origin, here, file = tmp_path / "origin", tmp_path / "here", tmp_path / "a.tar"
    place = Path("files", "sessions", "old", "attachments")
    (origin / place).mkdir(parents=True)
    (origin / place / "f").write_bytes(bytes(5000))
    here.mkdir()
    if os.geteuid() == 0:
        os.chown(here, 65534, 65534)
    with scratch_database() as other:
        psql(other, FILL)
        run(capsys, "accounts", "export", "a", file, "--database-url", other, "--data-dir", origin)
    given = ("accounts", "import", file, "--database-url", dsn, "--data-dir", here)
    assert finds_no_room(1, *given) == f"happyctl: nothing was brought in: {here}: File too large\n"
    assert psql(dsn, 'SELECT count(*) FROM "Account"') == [(0,)]
    assert [path for path in here.rglob("*") if path.is_file()] == []
    assert {path.stat().st_uid for path in here.rglob("*")} == {here.stat().st_uid}
    run(capsys, *given)
    assert {path.stat().st_uid for path in here.rglob("*")} == {here.stat().st_uid}
    assert (here / place / "f").stat().st_size == 5000


def test_rotation(dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new secret that cannot be written changes nothing; afterwards one is made."""
    psql(dsn, KNOWN, [Keys.derive(SECRET).public_key])
    kept = tmp_path / "master-secret"
    kept.touch(0o600)
    kept.write_text(f"{SECRET}\n")
    given = ("secret", "rotate", "--yes", "--database-url", dsn, "--data-dir", tmp_path)
    said = finds_no_room(0, *given)
    assert said == f"happyctl: nothing was changed: {kept}.next: File too large\n"
    assert list(tmp_path.iterdir()) == [kept]
    assert psql(dsn, 'SELECT count(*) FROM "happy_secrets"') == [(1,)]
    assert run(capsys, *given)["file"] == str(kept)
    assert kept.read_text() != f"{SECRET}\n"
    assert psql(dsn, 'SELECT count(*) FROM "happy_secrets"') == [(2,)]
