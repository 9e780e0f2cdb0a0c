"""A database as a stream of bytes and back, and what is in it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING, NamedTuple

from happy.backup.programs import DUMP, PSQL, RESTORE, PgTool, ProgramFailed, conninfo, fitting
from happy.storage.blocking import BlockingDatabase
from happy.storage.dsn import parse_target

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

_CHUNK = 1024 * 1024
_SETTING = re.compile(rb"SET (\w+) = .*;\s*")
_BEFORE_ANYTHING = re.compile(rb"--.*|\\restrict .*|SET .*|SELECT pg_catalog\.set_config\(.*|\s*")

STILL = """
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 0
"""

SNAPSHOT = """
SELECT pg_export_snapshot()
"""

VERSION = """
SELECT current_setting('server_version'), current_setting('server_version_num')::integer / 10000
"""

TABLES = """
SELECT "relname"::text FROM pg_class
WHERE "relnamespace" = to_regnamespace(quote_ident(current_schema())) AND "relkind" IN ('r', 'p')
ORDER BY "relname"
"""

HOLDS = """
SELECT "relname"::text FROM pg_class
WHERE "relnamespace" = to_regnamespace(quote_ident(%(schema)s)) AND "relkind" IN ('r', 'p', 'v', 'm', 'S')
ORDER BY "relkind" <> 'r', "relname" LIMIT 1
"""

KNOWN_SETTINGS = """
SELECT "name" FROM pg_settings
"""


class Dumped(NamedTuple):
    """What a dump has: the rows of each table, the server's version, and the major one of the programs."""

    tables: Mapping[str, int]
    postgres: str
    programs: int


def dump(
    database: BlockingDatabase, receive: Callable[[IO[bytes]], None], bin_dir: Path | None = None
) -> Dumped:
    """Hand ``receive`` the tables as they are at this moment, in pg_dump's custom format.

    Others go on writing meanwhile. Raises ProgramFailed, and what ``receive`` raises.
    """

    async def work(tx: Transaction) -> Dumped:
        await tx.rows(STILL)
        ((snapshot,),) = await tx.rows(SNAPSHOT)
        ((version, major),) = await tx.rows(VERSION)
        programs = fitting(major, bin_dir)
        target = parse_target(database.dsn)
        schema = target.schema.replace('"', '""')
        arguments = [
            # What clients encrypt is compressed by a quarter, with little effort or with much.
            *("--format=custom", "--compress=1", "--no-owner", "--no-privileges", "--no-password"),
            *(f'--schema="{schema}"', f"--snapshot={snapshot}", f"--dbname={conninfo(target)}"),
        ]
        tables = await _counted(tx)
        dumping = PgTool(programs, DUMP, arguments, target)
        try:
            receive(dumping.output)
            dumping.finish()
        finally:
            dumping.end()
        return Dumped(tables, version, programs.major)

    return database.transact(work)


def counted(database: BlockingDatabase) -> dict[str, int]:
    """The rows of each table."""
    return database.transact(_counted)


async def _counted(tx: Transaction) -> dict[str, int]:
    found = {}
    for (table,) in await tx.rows(TABLES):
        name = table.replace('"', '""')
        ((found[table],),) = await tx.rows(f'SELECT count(*) FROM "{name}"')
    return found


def holds(database: BlockingDatabase, schemas: Iterable[str]) -> str | None:
    """Some table or the like that is in one of the schemas; None when they are empty, or not there."""

    async def work(tx: Transaction) -> str | None:
        for schema in schemas:
            if row := await tx.row(HOLDS, {"schema": schema}):
                return str(row[0])
        return None

    return database.transact(work)


def load(
    database: BlockingDatabase,
    content: IO[bytes],
    schema: str,
    programs: int,
    bin_dir: Path | None = None,
    *,
    then: str = "",
) -> None:
    """Put what a dump has into an empty database, and run the statement ``then``: all of it, or nothing.

    ``schema`` is the one that it came from, ``programs`` the major version that made it. Raises
    ProgramFailed.
    """
    known, major = database.transact(_facts)
    target = parse_target(database.dsn)
    installation = fitting(max(programs, major), bin_dir)
    reading = PgTool(installation, RESTORE, _restoring(schema), pipe_input=True)
    script = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", "--no-password")
    writing = PgTool(
        installation, PSQL, [*script, "--file=-", f"--dbname={conninfo(target)}"], target, pipe_input=True
    )
    try:
        feeding = Thread(target=_feed, args=(content, reading.input), daemon=True)
        feeding.start()
        last = [f"SET search_path TO {_quoted(schema)}", then, *_renaming(schema, target.schema)]
        _pass_on(reading.output, writing.input, known, schema, last)
        _finish_both(reading, writing)
        feeding.join()
    finally:
        writing.end()
        reading.end()


def _restoring(schema: str) -> list[str]:
    return ["--file=-", "--no-owner", "--no-privileges", "--exit-on-error", f"--schema={schema}"]


async def _facts(tx: Transaction) -> tuple[set[str], int]:
    ((_, major),) = await tx.rows(VERSION)
    return {name for (name,) in await tx.rows(KNOWN_SETTINGS)}, major


def _feed(content: IO[bytes], pipe: IO[bytes]) -> None:
    """A program that has ended takes no more, and says itself why."""
    try:
        shutil.copyfileobj(content, pipe, _CHUNK)
        pipe.close()
    except (OSError, ValueError):
        return


def _renaming(schema: str, wanted: str) -> list[str]:
    if schema == wanted:
        return []
    return [
        f"DROP SCHEMA IF EXISTS {_quoted(wanted)}",
        f"ALTER SCHEMA {_quoted(schema)} RENAME TO {_quoted(wanted)}",
        "CREATE SCHEMA IF NOT EXISTS public",
    ]


def _pass_on(
    source: IO[bytes], sink: IO[bytes], known: Collection[str], schema: str, last: Iterable[str]
) -> None:
    """Send the script from one program to the other, after what makes room for it; ``last`` follows."""
    try:
        sink.write(f"CREATE SCHEMA IF NOT EXISTS {_quoted(schema)};\n".encode())
        sink.writelines(understood(iter(source.readline, b""), known))
        shutil.copyfileobj(source, sink, _CHUNK)
        sink.writelines(f"{statement};\n".encode() for statement in last)
        sink.close()
    except BrokenPipeError:
        return


def understood(lines: Iterator[bytes], known: Collection[str]) -> Iterator[bytes]:
    """The beginning of a script up to its first real statement, without settings unknown to the server.

    Later versions of the programs set what earlier servers have not, such as ``transaction_timeout``.
    """
    for line in lines:
        setting = _SETTING.fullmatch(line)
        if setting is None or setting[1].decode() in known:
            yield line
        if _BEFORE_ANYTHING.fullmatch(line.rstrip(b"\n")) is None:
            return


def _finish_both(reading: PgTool, writing: PgTool) -> None:
    """Raise what the second complains of, if it does: the first then only lost its reader."""
    failures = []
    for program in (writing, reading):
        try:
            program.finish()
        except ProgramFailed as failed:
            failures.append(failed)
    if failures:
        raise failures[0]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
