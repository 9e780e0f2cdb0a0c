"""Tables that somebody has changed so that they cannot be written as they have to be."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from happy.base.errors import StartupError
from happy.storage.alterations import columns_of
from happy.storage.migrate import load_migrations
from tests.harness import psql, run_migrations, scratch_database

FUNCTION = """
CREATE FUNCTION "meddle"() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$;
CREATE TRIGGER "one's" {} ON "{}" FOR EACH {} EXECUTE FUNCTION "meddle"()
"""


@pytest.fixture
def dsn() -> Iterator[str]:
    """A database as a server made it."""
    with scratch_database() as made:
        yield made


def refused(dsn: str, *changes: str) -> str:
    """What a start says after these changes."""
    for change in changes:
        psql(dsn, change)
    with pytest.raises(StartupError) as told:
        run_migrations(dsn)
    return str(told.value)


def test_known() -> None:
    """What each column is made as is read of every one, whatever it is."""
    files = [migration.sql for migration in load_migrations()]
    made = columns_of(files, but=())
    tables = re.findall(r'^CREATE .*TABLE "', "\n".join(files), re.MULTILINE)
    assert len({table for table, _ in made}) == len(tables)
    assert {column.type for column in made.values()} == {
        *("bigint", "boolean", "bytea", "integer", "integer[]", "jsonb", "text", "varchar"),
        *("timestamp without time zone", "timestamp with time zone", '"RelationshipStatus"'),
    }
    assert made["SessionMessage", "localId"].optional
    assert not made["SessionMessage", "content"].optional


@pytest.mark.parametrize(
    ("table", "column", "kind", "told"),
    [
        ("Session", "dataEncryptionKey", "text", "text instead of bytea"),
        ("Account", "feedSeq", "integer", "integer instead of bigint"),
        ("SessionMessage", "content", "text", "text instead of jsonb"),
        ("Machine", "lastActiveAt", "timestamptz", "timestamp with time zone instead of timestamp without"),
        ("UserRelationship", "status", "text", 'text instead of "RelationshipStatus"'),
        ("happy_updates", "seq", "bigint", "bigint instead of integer"),
    ],
)
def test_types(dsn: str, table: str, column: str, kind: str, told: str) -> None:
    """Another type is told with the one that it has to be."""
    default = f'ALTER TABLE "{table}" ALTER "{column}" DROP DEFAULT'
    change = f'ALTER TABLE "{table}" ALTER "{column}" TYPE {kind} USING "{column}"::text::{kind}'
    assert f'column "{column}" of the table "{table}" has the type {told}' in refused(dsn, default, change)


def test_as_good(dsn: str) -> None:
    """Texts with a bound, domains, other precisions and what the server does not use are taken."""
    psql(dsn, 'CREATE DOMAIN "word" AS varchar(90); ALTER TABLE "Session" ALTER "tag" TYPE "word"')
    psql(dsn, 'ALTER TABLE "Session" ALTER "createdAt" TYPE timestamp(6)')
    psql(dsn, 'ALTER TABLE "SimpleCache" ALTER "value" TYPE bytea USING "value"::bytea')
    run_migrations(dsn)


def test_columns_that_cannot_be_written(dsn: str) -> None:
    """One that must not be empty any more is told, and one that the database computes."""
    says = refused(dsn, """ALTER TABLE "SessionMessage" ALTER "localId" SET NOT NULL""")
    assert says.startswith('the column "localId" of the table "SessionMessage" must not be empty')
    psql(dsn, """ALTER TABLE "SessionMessage" ALTER "localId" DROP NOT NULL""")
    says = refused(
        dsn,
        """ALTER TABLE "Session" DROP "agentState",
        ADD "agentState" TEXT GENERATED ALWAYS AS ("tag") STORED""",
    )
    assert says.startswith('the column "agentState" of the table "Session" is computed')


@pytest.mark.parametrize(
    ("body", "when", "table", "each"),
    [
        ("IF true THEN RETURN  null; END IF; RETURN NEW;", "BEFORE INSERT", "SessionMessage", "ROW"),
        ("RETURN NULL;", "BEFORE UPDATE", "Account", "ROW"),
        ("RETURN NULL;", "BEFORE INSERT OR DELETE", "happy_updates", "ROW"),
    ],
)
def test_swallowing_triggers(dsn: str, body: str, when: str, table: str, each: str) -> None:
    """A trigger that may leave rows out is told with what ends it; that does end it."""
    says = refused(dsn, FUNCTION.format(body, when, table, each))
    assert says.startswith(f'the trigger "one\'s" may keep rows out of the table "{table}" unnoticed; DROP')
    psql(dsn, says.partition("; ")[2].partition(",")[0])
    run_migrations(dsn)


@pytest.mark.parametrize(
    ("body", "when", "table", "each"),
    [
        ("RETURN NEW; /* returns nullable things */", "BEFORE INSERT", "SessionMessage", "ROW"),
        ("RETURN NULL;", "AFTER INSERT", "SessionMessage", "ROW"),
        ("RETURN NULL;", "BEFORE INSERT", "SessionMessage", "STATEMENT"),
        ("RETURN NULL;", "BEFORE INSERT", "SimpleCache", "ROW"),
    ],
)
def test_other_triggers(dsn: str, body: str, when: str, table: str, each: str) -> None:
    """Those that leave nothing out of what is used are taken."""
    psql(dsn, FUNCTION.format(body, when, table, each))
    run_migrations(dsn)


def test_disabled(dsn: str) -> None:
    """A trigger that is off does nothing."""
    psql(dsn, FUNCTION.format("RETURN NULL;", "BEFORE INSERT", "Session", "ROW"))
    psql(dsn, 'ALTER TABLE "Session" DISABLE TRIGGER "one\'s"')
    run_migrations(dsn)


@pytest.mark.parametrize("rule", ["INSERT", "UPDATE", "DELETE"])
def test_rules(dsn: str, rule: str) -> None:
    """So is any rule, since what appends cannot be used at a table with one."""
    says = refused(dsn, f'CREATE RULE "r" AS ON {rule} TO "SessionMessage" DO INSTEAD NOTHING')
    assert 'the rule "r" may keep rows out of the table "SessionMessage"' in says
    psql(dsn, 'ALTER TABLE "SessionMessage" DISABLE RULE "r"')
    run_migrations(dsn)


def test_an_empty_database() -> None:
    """Where there is nothing yet, nothing is changed."""
    with scratch_database(migrated=False) as dsn:
        run_migrations(dsn)
        run_migrations(dsn)
