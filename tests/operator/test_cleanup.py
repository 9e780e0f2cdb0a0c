"""What goes, and what stays, when a server is cleaned up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from happy.operator import ctl
from happy.storage import removal, retention
from happy.storage.blocking import opened
from happy.storage.retention import REMOVED
from tests.harness import psql, scratch_database
from tests.operated import ROOT
from tests.operator.test_backup import ENVIRONMENT, fails, run

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

FILL = """
INSERT INTO "Account" ("id", "publicKey", "updatedAt") VALUES ('a', 'k', now());
INSERT INTO "Machine" ("id", "accountId", "metadata", "updatedAt") VALUES ('m', 'a', 'm', now());
INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "updatedAt", "lastActiveAt")
SELECT name, 'a', name, 'm', now() - age, now() - age
FROM (VALUES ('old', interval '100 days'), ('older', interval '200 days'), ('new', interval '1 day'))
    v(name, age);
INSERT INTO "SessionMessage" ("id", "sessionId", "seq", "content", "updatedAt")
SELECT s."id" || i, s."id", i, '{}', now() FROM "Session" s, generate_series(1, 10) i;
INSERT INTO "AccessKey" ("id", "accountId", "machineId", "sessionId", "data", "updatedAt")
SELECT s."id", 'a', 'm', s."id", 'd', now() FROM "Session" s;
INSERT INTO "UsageReport" ("id", "key", "accountId", "sessionId", "data", "updatedAt")
SELECT i || s."id", i::text, 'a', s."id", '{}', now() - i * interval '1 hour'
FROM "Session" s, generate_series(1, 2500) i WHERE s."id" = 'new';
"""


@pytest.fixture
def dsn(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database with sessions of several ages."""
    for name in (*ENVIRONMENT, "HAPPY_KEEP_SESSIONS"):
        monkeypatch.delenv(name, raising=False)
    with scratch_database() as dsn:
        psql(dsn, FILL)
        yield dsn


def sessions(dsn: str) -> list[str]:
    """What is left, by name."""
    return [row[0] for row in psql(dsn, 'SELECT "id" FROM "Session" ORDER BY 1')]


def fill_files(folder: Path) -> None:
    """A file for each session, one of a session that is gone, and one that comes just before its session."""
    for name in ("old", "older", "new", "gone", "coming"):
        place = folder / "files" / "sessions" / name / "attachments"
        place.mkdir(parents=True)
        (place / "f").write_bytes(b"123")
        if name != "coming":
            for path in (place / "f", place, place.parent):
                os.utime(path, (time.time() - 200_000,) * 2)


def left(folder: Path) -> set[str]:
    """The sessions that have files."""
    return {path.name for path in (folder / "files" / "sessions").iterdir()}


def test_by_argument(dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is announced goes, with everything of it, and no more than that."""
    fill_files(tmp_path)
    given = ("cleanup", "--database-url", dsn, "--data-dir", tmp_path, "--inactive", "90d", "--usage", "10d")
    said = run(capsys, *given, "--dry-run")
    assert (said["sessions"], said["messages"], said["files"]) == (2, 20, 3)
    assert said["usageReports"] == 2500 - 240 + 1 or said["usageReports"] == 2500 - 240
    assert abs(said["oldestAt"] / 1000 - (time.time() - 200 * 86_400)) < 7200
    assert len(sessions(dsn)) == 3
    assert "say --yes" in fails(capsys, *given, status=2)
    assert left(tmp_path) == {"old", "older", "new", "gone", "coming"}
    done = run(capsys, *given, "--yes")
    assert done == said
    assert sessions(dsn) == ["new"]
    assert psql(dsn, 'SELECT count(*) FROM "SessionMessage"') == [(10,)]
    assert psql(dsn, 'SELECT count(*) FROM "UsageReport"')[0][0] == 2500 - said["usageReports"]
    assert left(tmp_path) == {"new", "coming"}
    again = run(capsys, *given, "--yes")
    assert (again["sessions"], again["files"], again["oldestAt"]) == (0, 0, None)


def test_by_setting(
    dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without arguments the settings hold, and without those nothing that somebody made goes."""
    given = ("cleanup", "--database-url", dsn, "--data-dir", tmp_path, "--yes")
    assert run(capsys, *given)["sessions"] == 0
    monkeypatch.setenv("HAPPY_KEEP_SESSIONS", "150")
    assert run(capsys, *given)["sessions"] == 1
    assert sessions(dsn) == ["new", "old"]


def test_an_interrupted_one(
    dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is stopped within a session has taken it from its owner, and the next one removes the rest."""
    fill_files(tmp_path)
    monkeypatch.setattr(removal, "AT_ONCE", 4)
    remove, left_to_do = removal.remove_messages, 2

    async def stopping(tx: Transaction, session: str, first: int) -> removal.Slice:
        nonlocal left_to_do
        left_to_do -= 1
        if left_to_do < 0:
            raise KeyboardInterrupt
        return await remove(tx, session, first)

    given = ("cleanup", "--database-url", dsn, "--data-dir", tmp_path, "--yes")
    with monkeypatch.context() as patch:
        patch.setattr(removal, "remove_messages", stopping)
        assert ctl.main([*map(str, given), "--inactive", "150d"]) == 1
        assert "interrupted" in capsys.readouterr().err
    assert psql(dsn, 'SELECT "id", "accountId" FROM "Session" ORDER BY 1') == [
        ("new", "a"),
        ("old", "a"),
        ("older", REMOVED),
    ]
    assert psql(dsn, 'SELECT count(*) FROM "SessionMessage" WHERE "sessionId" = $$older$$') == [(2,)]
    done = run(capsys, *given)
    assert (done["sessions"], done["messages"]) == (1, 2)
    assert sessions(dsn) == ["new", "old"]
    assert psql(dsn, 'SELECT count(*) FROM "SessionMessage"') == [(20,)]
    assert psql(dsn, 'SELECT "id" FROM "Account"') == [("a",)]
    assert left(tmp_path) == {"new", "old", "coming"}


def test_two_at_once(dsn: str, tmp_path: Path) -> None:
    """What two remove at the same time is removed once, and counted once."""
    psql(
        dsn,
        """INSERT INTO "SessionMessage" ("id", "sessionId", "seq", "content", "updatedAt")
        SELECT 'more' || i, 'old', i, '{}', now() FROM generate_series(11, 9000) i""",
    )
    command = [sys.executable, "-m", "happy.operator.ctl", "cleanup", "--inactive", "90d", "--yes", "--json"]
    both = [
        subprocess.Popen(
            [*command, "--database-url", dsn, "--data-dir", str(tmp_path)],
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        )
        for _ in range(2)
    ]
    said = [json.loads(one.communicate()[0]) for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert sum(one["sessions"] for one in said) == 2
    assert sum(one["messages"] for one in said) == 9010
    assert sessions(dsn) == ["new"]
    assert psql(dsn, 'SELECT "id" FROM "Account"') == [("a",)]


def test_one_that_is_used_meanwhile(dsn: str) -> None:
    """Who uses a session after it was listed keeps it."""
    long_ago = int(time.time() * 1000) - 90 * 86_400_000
    psql(dsn, 'UPDATE "Session" SET "updatedAt" = now() WHERE "id" = $$old$$')
    with opened(dsn, "test") as database:
        for name, taken in (("old", False), ("older", True), ("older", True), ("none", False)):
            assert database.transact(partial(retention.take_away, session=name, cut=long_ago)) is taken
        assert not database.transact(retention.forget_removed)


def test_large_messages(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice has no more than so many bytes, but one message at least."""
    monkeypatch.setattr(removal, "MOST_BYTES", 5)
    psql(dsn, 'UPDATE "SessionMessage" SET "content" = \'{"c": "xxxxxxxxxx"}\' WHERE "seq" = 3')
    some, counts = removal.Slice(1, 0), []
    with opened(dsn, "test") as database:
        while some.messages:
            work = partial(removal.remove_messages, session="old", first=some.following)
            some = database.transact(work)
            counts.append(some.messages)
    assert (sum(counts), set(counts)) == (10, {1, 0})


def test_a_wrong_database(dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where not one folder has its session, the database is the wrong one, and files stay."""
    fill_files(tmp_path)
    psql(dsn, 'DELETE FROM "AccessKey"; DELETE FROM "SessionMessage"; DELETE FROM "UsageReport"')
    psql(dsn, 'DELETE FROM "Session"')
    assert run(capsys, "cleanup", "--database-url", dsn, "--data-dir", tmp_path, "--yes")["files"] == 0
    assert len(left(tmp_path)) == 5


@pytest.mark.parametrize("wrong", ["90", "x", "-1d", "1.5d", "99999999d", ""])
def test_times(dsn: str, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no time is wrong usage."""
    assert "must be a time" in fails(capsys, "cleanup", f"--inactive={wrong}", status=2)
