"""Dumping and loading with PostgreSQL's own programs, of all versions that are here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from happy.backup import programs
from happy.backup.database import Dumped, counted, dump, holds, load, understood
from happy.backup.programs import ProgramFailed, fitting
from happy.postgres.binaries import Installation, installations
from happy.storage.blocking import opened
from tests.harness import Cluster, psql, scratch_database

ACCOUNTS = """
INSERT INTO "Account" ("id", "publicKey", "updatedAt")
SELECT 'a' || i, 'k' || i, now() FROM generate_series(1, 500) i
"""
OLDER = next((one for one in installations() if one.major < 17), None)


def dumped(dsn: str) -> tuple[Dumped, bytes]:
    """A dump of a database."""
    content = BytesIO()
    with opened(dsn, "test") as database:
        return dump(database, lambda stream: content.write(stream.read()) and None), content.getvalue()


@pytest.fixture(scope="module")
def original() -> Iterator[tuple[Dumped, bytes]]:
    """A database with accounts, dumped while somebody goes on writing."""
    with scratch_database() as dsn:
        psql(dsn, ACCOUNTS)
        yield dumped(dsn)


def test_moved(original: tuple[Dumped, bytes]) -> None:
    """What was dumped is in the other database, in whatever schema that has its tables."""
    facts, content = original
    assert facts.tables["Account"] == 500
    with scratch_database(migrated=False) as dsn, opened(f"{dsn}&schema=My+own", "test") as database:
        assert holds(database, ["public", "My own"]) is None
        load(database, BytesIO(content), "public", facts.programs)
        assert counted(database) == facts.tables
        assert holds(database, ["My own"]) == "AccessKey"
        again, other = dumped(f"{dsn}&schema=My+own")
        with scratch_database(migrated=False) as third, opened(third, "test") as back:
            load(back, BytesIO(other), "My own", again.programs)
            assert counted(back) == facts.tables


def test_all_or_nothing(original: tuple[Dumped, bytes]) -> None:
    """What cannot be loaded to its end leaves nothing, and the reason is a line."""
    facts, content = original
    with scratch_database(migrated=False) as dsn, opened(dsn, "test") as database:
        for broken in (content[: len(content) // 2], content[:20], b"", b"x" * 5000):
            with pytest.raises(ProgramFailed) as caught:
                load(database, BytesIO(broken), "public", facts.programs)
            assert "\n" not in str(caught.value)
            assert holds(database, ["public"]) is None


def test_one_moment() -> None:
    """Rows that come while a dump runs are neither counted nor in it."""
    with scratch_database() as dsn:
        psql(dsn, ACCOUNTS)
        content = BytesIO()

        def receive(stream: object) -> None:
            psql(dsn, 'DELETE FROM "Account" WHERE "id" > \'a2\'')
            content.write(stream.read())  # type: ignore[attr-defined]

        with opened(dsn, "test") as database:
            facts = dump(database, receive)
        with scratch_database(migrated=False) as other, opened(other, "test") as database:
            load(database, BytesIO(content.getvalue()), "public", facts.programs)
            assert counted(database)["Account"] == facts.tables["Account"] == 500


@pytest.mark.skipif(OLDER is None, reason="there is no older PostgreSQL here")
def test_an_older_server(original: tuple[Dumped, bytes]) -> None:
    """Settings that an older server does not know stop nothing, and its own dumps go the other way."""
    assert OLDER is not None
    facts, content = original
    cluster = Cluster(OLDER)
    try:
        dsn = cluster.create(migrated=False)
        with opened(dsn, "test") as database:
            load(database, BytesIO(content), "public", facts.programs)
            assert counted(database) == facts.tables
        again, other = dumped(dsn)
        assert again.programs == OLDER.major
    finally:
        cluster.stop()
    with scratch_database(migrated=False) as back, opened(back, "test") as database:
        load(database, BytesIO(other), "public", again.programs)
        assert counted(database) == facts.tables


def test_settings_of_later_versions() -> None:
    """Only settings before the first statement are looked at, and only unknown ones left out."""
    script = [
        b"--\n",
        b"\\restrict abc\n",
        b"SET statement_timeout = 0;\n",
        b"SET transaction_timeout = 0;\n",
        b"SELECT pg_catalog.set_config('search_path', '', false);\n",
        b"CREATE TABLE x ();\n",
        b"SET transaction_timeout = 0;\n",
    ]
    lines = iter(script)
    assert list(understood(lines, {"statement_timeout"})) == [*script[:3], *script[4:6]]
    assert list(lines) == script[6:]


def test_programs_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the server's version are taken, else the next later ones; without any, a line says so."""
    found = [Installation(Path("/18"), 18), Installation(Path("/16"), 16), Installation(Path("/17"), 17)]
    monkeypatch.setattr(programs, "installations", lambda configured: iter(found))
    monkeypatch.setattr(programs, "_complete", lambda installation: True)
    assert [fitting(major).major for major in (15, 16, 17, 18)] == [16, 16, 17, 18]
    with pytest.raises(ProgramFailed, match="PostgreSQL 19.*there are those of PostgreSQL 18"):
        fitting(19)
    found.clear()
    with pytest.raises(ProgramFailed, match="there are none"):
        fitting(15)


def test_the_password_is_not_shown() -> None:
    """What other users see of the command line has no password; the program gets it all the same."""
    from happy.storage.dsn import parse_target

    target = parse_target("postgresql://ada:geheim@db.example.org:6543/happy")
    assert "geheim" not in programs.conninfo(target)
    assert "ada" in programs.conninfo(target)
    shown = subprocess.run(
        [sys.executable, "-c", "import os; print(os.environ['PGPASSWORD'])"],
        env=programs._environment(target),
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "geheim\n"
