"""Bring a database to the schema this code works with (schema.md sections 8 and 9).

The first file is the original's final schema: it makes an empty database, and is what a database that
the original made must have. The others add our own objects and are recorded in ``happy_migrations``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from twisted.logger import Logger

from happy.base.errors import IN_WORDS, DatabaseDown, QueryFailed, StartupError
from happy.storage.additions import find_lost, make_again
from happy.storage.alterations import refuse_altered
from happy.storage.connection import Connection, execute
from happy.storage.obstacles import refuse_forbidden, refuse_hidden, refuse_unsuitable
from happy.storage.session import quoted

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

ADVISORY_LOCK = 72707369
"""The number that the original's migration tool locks too, so that one waits for the other."""

SETTINGS = """
SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL lock_timeout = '60s'
"""

TAKE_LOCK = """
SELECT pg_advisory_xact_lock(%s)
"""

SCHEMA = """
SELECT current_schema() IS NOT NULL, current_setting('search_path')
"""

COLUMNS = """
SELECT "table_name"::text, "column_name"::text,
       "is_nullable" = 'YES' OR "column_default" IS NOT NULL OR "is_generated" <> 'NEVER'
  FROM information_schema.columns WHERE "table_schema" = current_schema()
"""

# Of tables with these names and of ours, whether this role may look at it or not.
OWNERS = """
SELECT DISTINCT pg_get_userbyid("relowner")::text, current_user::text FROM pg_class
 WHERE "relnamespace" = (SELECT "oid" FROM pg_namespace WHERE "nspname" = current_schema())
   AND "relkind" = 'r' AND ("relname" = ANY (%s::text[]) OR starts_with("relname", 'happy_'))
   AND NOT pg_has_role("relowner", 'USAGE') ORDER BY 1 LIMIT 1
"""

UNIQUE = """
SELECT "relname"::text, array_agg("attname"::text)
  FROM pg_index JOIN pg_class ON pg_class."oid" = "indrelid"
  JOIN pg_attribute ON "attrelid" = "indrelid" AND "attnum" = ANY ("indkey")
 WHERE "relnamespace" = (SELECT "oid" FROM pg_namespace WHERE "nspname" = current_schema())
   AND "indisunique" AND "indisvalid" AND "indpred" IS NULL AND "indexprs" IS NULL
 GROUP BY "indexrelid", "relname"
"""

ORIGINAL_MIGRATIONS = """
SELECT "migration_name", "finished_at" IS NOT NULL, to_jsonb("entry") ->> 'rolled_back_at' IS NOT NULL
  FROM "_prisma_migrations" AS "entry"
"""

ANYBODY = """
SELECT 1 FROM "Account" LIMIT 1
"""

OWN_MIGRATIONS = """
SELECT "version", "name" FROM "happy_migrations"
"""

NEWEST_APPLIED = """
SELECT max("version") FROM "happy_migrations"
"""

RECORD_MIGRATION = """
INSERT INTO "happy_migrations" ("version", "name", "appliedAt")
VALUES (%s, %s, date_trunc('milliseconds', now() AT TIME ZONE 'UTC'))
"""

UNUSED = ("GithubOrganization", "GlobalLock", "RepeatKey", "SimpleCache", "VoiceConversation")
"""Tables that no request reads or writes; a later version of the original may drop them."""

_UNCHECKED = (*UNUSED, "_prisma_migrations")

MOST_NAMES = 5
"""Names told in one message."""

PATIENCE = 30.0
"""Seconds that an external server may take to come up when both start together."""

LOCK_NOT_AVAILABLE = "55P03"

_REASONS = {
    "42501": "the role may not create things in the schema",
    "42P07": "the schema holds something of that name already",
    "42710": "the schema holds something of that name already",
}

_IN_PART = "perhaps it was not restored as a whole"

_log = Logger()


@dataclass(frozen=True, slots=True)
class Migration:
    """A numbered SQL file."""

    version: int
    name: str
    sql: str


Unique = tuple[str, frozenset[str]]
"""A table, and columns that no two of its rows have alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a database holds: ``columns`` by table, each with whether an insert may leave it out."""

    columns: Mapping[str, Mapping[str, bool]]
    unique: Collection[Unique] = ()
    applied: Collection[str] = ()
    failed: Collection[str] = ()
    recorded: bool = False
    own: Mapping[int, str] | None = None


def load_migrations() -> list[Migration]:
    """The files of the package, in order."""
    files = resources.files("happy.storage") / "migrations"
    names = sorted(entry.name for entry in files.iterdir() if entry.name.endswith(".sql"))
    return [Migration(int(name[:4]), name[:-4], (files / name).read_text("utf-8")) for name in names]


def original_names(initial: str) -> list[str]:
    """The original's migrations, in order, as the first file records them."""
    return re.findall(r"\('(\d{14}_\w+)'", initial)


def columns_made(sql: str) -> dict[str, list[str]]:
    """The tables that a file creates, but for unlogged ones, and their columns."""
    tables = re.findall(r'CREATE TABLE "(\w+)" \((.*?)\n\)', sql, re.DOTALL)
    return {name: re.findall(r'^    "(\w+)" ', body, re.MULTILINE) for name, body in tables}


def unique_made(sql: str) -> list[Unique]:
    """What a file says is unique in these tables, but for expressions."""
    keys = re.findall(r'CREATE TABLE "(\w+)" \((?:(?!\n\)).)*PRIMARY KEY \((.*?)\)', sql, re.DOTALL)
    indexes = re.findall(r'CREATE UNIQUE INDEX "\w+" ON "(\w+)" \(("[^()]*)\)', sql)
    return [(table, frozenset(re.findall(r"\w+", columns))) for table, columns in (*keys, *indexes)]


def plan(found: Found, migrations: Sequence[Migration]) -> list[Migration]:
    """The migrations that a database lacks.

    Raises StartupError for a database that this code must not touch.
    """
    initial, *own = migrations
    _refuse_newer(found, own)
    if "Account" not in found.columns:
        if found.recorded or found.own:
            raise StartupError("the database has a record of migrations but not the tables they made")
        return list(migrations)
    _check_original(found, initial.sql)
    missing = [migration for migration in own if migration.version not in (found.own or {})]
    _check_own(found, own, missing)
    return missing


def _refuse_newer(found: Found, own: Sequence[Migration]) -> None:
    newer = sorted(set(found.own or {}) - {migration.version for migration in own})
    if newer and found.own:
        raise StartupError(
            f"a newer version of this server has used the database (migration {found.own[newer[-1]]}); "
            "run that version, or a later one"
        )


def _check_original(found: Found, initial: str) -> None:
    known = original_names(initial)
    if found.failed:
        raise StartupError(
            f"the original's migration {sorted(found.failed)[0]} failed in this database; "
            "repair it with the original's own tool first"
        )
    missing = [name for name in known if name not in found.applied]
    if missing and found.recorded:
        raise StartupError(
            "the database is older than this server understands; run the original's migrations first, "
            f"which lack {_some_of(missing)}"
        )
    if unknown := sorted(set(found.applied) - set(known)):
        _log.warn(
            "the original has newer migrations than this server knows: {names}", names=", ".join(unknown)
        )
    if not found.recorded:
        _log.warn("the database has no record of the original's migrations; comparing its columns only")
    _check_columns(found.columns, columns_made(initial))
    _check_unique(found.unique, unique_made(initial))


def _check_own(found: Found, own: Sequence[Migration], missing: Sequence[Migration]) -> None:
    """What is recorded as made is there, and nothing else is."""
    for migration in own:
        if migration not in missing:
            _check_columns(found.columns, columns_made(migration.sql))
            _check_unique(found.unique, unique_made(migration.sql))
        elif there := [table for table in columns_made(migration.sql) if table in found.columns]:
            raise StartupError(
                f'the database has the table "{there[0]}", but no record of the migration {migration.name}, '
                f"which makes it; {_IN_PART}"
            )


def _some_of(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _check_columns(columns: Mapping[str, Mapping[str, bool]], expected: Mapping[str, Sequence[str]]) -> None:
    """Every column we know exists, and an insert may leave out the others."""
    for table, names in expected.items():
        if table in _UNCHECKED:
            continue
        present = columns.get(table)
        if present is None:
            raise StartupError(f'the database lacks the table "{table}"; {_IN_PART}')
        if lacking := [name for name in names if name not in present]:
            raise StartupError(f'the table "{table}" of the database lacks {", ".join(lacking)}')
        strange = sorted(name for name in present if name not in names and not present[name])
        if strange:
            raise StartupError(
                f'the table "{table}" of the database requires {", ".join(strange)}, '
                "which this server does not know; run a newer version"
            )


def _check_unique(unique: Collection[Unique], expected: Sequence[Unique]) -> None:
    """Whatever the statements rely on to be there once is kept from being there twice."""
    for table, columns in expected:
        if table not in _UNCHECKED and (table, columns) not in unique:
            raise StartupError(
                f'the table "{table}" of the database lacks the unique index on '
                f"{', '.join(sorted(columns))}; {_IN_PART}"
            )


class Survey(NamedTuple):
    """The newest migration that a database has, 0 for an empty one, and those that it lacks.

    ``lost`` are functions and indexes that migrations made and that are gone, and what makes each.
    """

    newest: int
    missing: list[Migration]
    lost: dict[str, str]


class Connects(Protocol):
    """What gives connections to the database: :class:`happy.storage.database.Database`."""

    async def connect(self, patience: float = ...) -> Connection:
        """A connection of one's own."""


Before = Callable[[int, Sequence[Migration]], Awaitable[None]]
"""What is done first when there are data: it gets the newest migration applied so far, and what will be."""


async def migrate(database: Connects, patience: float = PATIENCE, before: Before | None = None) -> None:
    """Apply what is missing, all of it or nothing, while no other server does.

    A server that is not there yet is waited for, ``patience`` seconds. Raises StartupError with the
    reason and what to do.
    """
    try:
        connection = await database.connect(patience)
    except DatabaseDown as down:
        raise StartupError(f"DATABASE_URL: {down}") from None
    connection.limit = math.inf  # a large table gets its index however long that takes
    try:
        await migrate_connection(connection, before)
    except QueryFailed as failed:
        raise StartupError(f"the database cannot be migrated: {failed}") from None
    finally:
        connection.close()


async def migrate_connection(connection: Connection, before: Before | None = None) -> None:
    """As :func:`migrate`, on a connection that is used for nothing else afterwards."""
    await execute(connection, f"BEGIN;{SETTINGS}")
    await _lock(connection)
    await _ensure_schema(connection)
    newest, missing, lost = await survey(connection)
    if missing and newest and await _rows(connection, ANYBODY):
        _log.info("the database goes from migration {old} to {new}", old=newest, new=missing[-1].version)
        if before is not None:
            await before(newest, missing)
    await make_again(connection, lost)
    for migration in missing:
        await _apply(connection, migration)
    await execute(connection, "COMMIT")


async def survey(connection: Connection) -> Survey:
    """Look at all that there is. Raises StartupError for a database that this code must not touch."""
    found = await _examine(connection)
    await refuse_unsuitable(connection, empty="Account" not in found.columns)
    migrations = load_migrations()
    tables = list(columns_made(migrations[0].sql))
    await refuse_hidden(connection, tables)
    if len(found.own or ()) < len(migrations) - 1:
        await _refuse_foreign(connection, tables)
    await refuse_forbidden(connection, tables)
    missing = plan(found, migrations)
    if "Account" not in found.columns:
        return Survey(0, missing, {})
    seen = [migration.sql for migration in migrations[1:] if migration not in missing]
    await refuse_altered(connection, [migrations[0].sql, *seen], but=_UNCHECKED)
    return Survey(max(found.own or {1: ""}), missing, await find_lost(connection, seen))


async def _lock(connection: Connection) -> None:
    try:
        await execute(connection, TAKE_LOCK, (ADVISORY_LOCK,))
    except QueryFailed as refused:
        if refused.sqlstate != LOCK_NOT_AVAILABLE:
            raise
        raise StartupError("another server has been migrating the database for a minute; try again") from None


async def _ensure_schema(connection: Connection) -> None:
    """Make the schema that the connection URL names; the search path holds it alone, and quoted."""
    ((exists, path),) = await _rows(connection, SCHEMA)
    if not exists:
        await execute(connection, f"CREATE SCHEMA IF NOT EXISTS {path}")


async def _examine(connection: Connection) -> Found:
    columns: dict[str, dict[str, bool]] = {}
    for table, column, optional in await _rows(connection, COLUMNS):
        columns.setdefault(table, {})[column] = optional
    recorded = "_prisma_migrations" in columns
    ours = {"version", "name"} <= columns.get("happy_migrations", {}).keys()
    history = await _rows(connection, ORIGINAL_MIGRATIONS) if recorded else []
    applied = {name for name, done, undone in history if done and not undone}
    return Found(
        columns=columns,
        unique={(table, frozenset(names)) for table, names in await _rows(connection, UNIQUE)},
        applied=applied,
        failed={name for name, done, undone in history if not done and not undone} - applied,
        recorded=recorded,
        own=dict(await _rows(connection, OWN_MIGRATIONS)) if ours else None,
    )


async def _refuse_foreign(connection: Connection, tables: Sequence[str]) -> None:
    """Raises StartupError for tables that this role may not add anything to."""
    for owner, role in await _rows(connection, OWNERS, [tables]):
        raise StartupError(
            f"tables of the database belong to the role {owner}; let DATABASE_URL name that role, "
            f"or give each of them to {role}: ALTER TABLE ... OWNER TO {quoted(role)}"
        )


async def _apply(connection: Connection, migration: Migration) -> None:
    _log.info("applying {name}", name=migration.name)
    try:
        await execute(connection, migration.sql)
        if migration.version > 1:
            await execute(connection, RECORD_MIGRATION, (migration.version, migration.name))
    except QueryFailed as refused:
        state = refused.sqlstate or ""
        reason = _REASONS.get(state) or IN_WORDS.get(state) or f"state {state}"
        raise StartupError(f"migration {migration.name} failed, nothing was changed: {reason}") from None


async def newest_applied(tx: Transaction) -> int:
    """The number of the last migration that the database has seen. Raises QueryFailed without a list."""
    row = await tx.row(NEWEST_APPLIED)
    assert row is not None
    return int(row[0] or 0)


async def _rows(connection: Connection, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = (await execute(connection, sql, params)).fetchall()
    return found
