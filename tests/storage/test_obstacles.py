"""Databases that a role cannot use as they are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.defer import succeed

from happy.base.errors import StartupError
from happy.storage.blocking import finished
from happy.storage.obstacles import refuse_unsuitable
from tests.harness import cluster, psql, run_migrations, scratch_database

ROLE = "o'brien"


@pytest.fixture(scope="module")
def guest() -> Iterator[tuple[str, str]]:
    """A database, by the URL of its owner and by that of a role that may read and change all tables."""
    with scratch_database() as dsn:
        ((owner,),) = psql(dsn, "SELECT current_user::text")
        psql(dsn, f'CREATE ROLE "{ROLE}" LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO "{ROLE}"')
        try:
            yield dsn, dsn.replace(f"//{owner}@", "//o%27brien@")
        finally:
            psql(dsn, f'DROP OWNED BY "{ROLE}"; DROP ROLE "{ROLE}"')


def test_rights(guest: tuple[str, str]) -> None:
    """A role that may use every table starts; with one right too few it is told what to do."""
    dsn, other = guest
    run_migrations(other)
    psql(dsn, f'REVOKE DELETE ON "happy_commits" FROM "{ROLE}"')
    with pytest.raises(StartupError, match=r'''brien may not .*"happy_commits"; .* GRANT .* TO "o'brien"'''):
        run_migrations(other)
    psql(dsn, f'GRANT DELETE ON "happy_commits" TO "{ROLE}"')
    psql(dsn, "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC")
    with pytest.raises(StartupError, match="brien may not call the function happy_append_messages; .*GRANT"):
        run_migrations(other)
    psql(dsn, f'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO "{ROLE}"')
    run_migrations(other)


@pytest.mark.parametrize("table", ["Account", "_prisma_migrations", "happy_migrations"])
def test_hidden_rows(guest: tuple[str, str], table: str) -> None:
    """Row-level security is told with its table; but for a policy that lets everything through."""
    dsn, other = guest
    psql(dsn, f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY')
    run_migrations(dsn)
    try:
        with pytest.raises(StartupError, match=f'row-level security .*"{table}" .* ROLE "o\'brien" BYPASS'):
            run_migrations(other)
        psql(dsn, f'CREATE POLICY "some" ON "{table}" USING (false)')
        psql(dsn, f'CREATE POLICY "one" ON "{table}" FOR SELECT USING (true)')
        with pytest.raises(StartupError, match="row-level security"):
            run_migrations(other)
        psql(dsn, f'CREATE POLICY "all" ON "{table}" TO "{ROLE}" USING (true)')
        run_migrations(other)
        psql(dsn, f'CREATE POLICY "but" ON "{table}" AS RESTRICTIVE USING (false)')
        with pytest.raises(StartupError, match="row-level security"):
            run_migrations(other)
    finally:
        psql(dsn, f'ALTER TABLE "{table}" DISABLE ROW LEVEL SECURITY')
        for name in ("some", "one", "all", "but"):
            psql(dsn, f'DROP POLICY IF EXISTS "{name}" ON "{table}"')


def test_encoding() -> None:
    """A database that cannot hold every text is not begun; one that is used already goes on."""
    options = "TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'"
    dsn = cluster().dsn("latin")
    psql(cluster().dsn("postgres"), f"CREATE DATABASE latin {options}")
    try:
        with pytest.raises(StartupError, match="encoded in LATIN1, .* ENCODING 'UTF8'"):
            run_migrations(dsn)
        assert finished(refuse_unsuitable(Told(18, "LATIN1"), empty=False)) is None  # type: ignore[arg-type]
    finally:
        cluster().drop(dsn)


def test_age() -> None:
    """A server that lacks what the statements use is refused with both versions."""
    finished(refuse_unsuitable(Told(13, "UTF8"), empty=True))  # type: ignore[arg-type]
    with pytest.raises(StartupError, match=r"PostgreSQL 12\.1 is too old; it has to be 13 or later"):
        finished(refuse_unsuitable(Told(12, "UTF8"), empty=False))  # type: ignore[arg-type]


class Told:
    """A connection to a server of which there is none here."""

    def __init__(self, number: int, encoding: str) -> None:
        self._row = (number, f"{number}.1", encoding)

    def run(self, sql: str, params: object) -> object:
        """The cursor of the only statement."""
        return succeed(self)

    def fetchall(self) -> list[tuple[int, str, str]]:
        """Its rows."""
        return [self._row]
