"""One account as a file, and back into another database.

The file is an archive (:mod:`happy.backup.archive`): of each table the rows that belong to the account, a
JSON object a line as PostgreSQL's COPY writes it, and the account's files. Identifiers stay, so that what
clients remember is found again. What belongs to two accounts, such as friendship, stays behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import msgspec
import psycopg2
from psycopg2.errors import UniqueViolation
from psycopg2.extensions import quote_ident

from happy.backup.archive import ROWS, Archive, ArchiveWriter, BadBackup
from happy.storage.blocking import BlockingDatabase
from happy.storage.connection import explain

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

_OF_ACCOUNT = '"accountId" = %(account)s'

TABLES: Mapping[str, str] = {
    "GithubUser": '"id" = (SELECT "githubUserId" FROM "Account" WHERE "id" = %(account)s)',
    "Account": '"id" = %(account)s',
    "Session": _OF_ACCOUNT,
    "SessionMessage": '"sessionId" IN (SELECT "id" FROM "Session" WHERE "accountId" = %(account)s)',
    "Machine": _OF_ACCOUNT,
    "Artifact": _OF_ACCOUNT,
    "AccessKey": _OF_ACCOUNT,
    "AccountPushToken": _OF_ACCOUNT,
    "UsageReport": _OF_ACCOUNT,
    "UploadedFile": _OF_ACCOUNT,
    "ServiceAccountToken": _OF_ACCOUNT,
    "UserFeedItem": '"userId" = %(account)s',
    "UserKVStore": _OF_ACCOUNT,
    "VoiceConversation": _OF_ACCOUNT,
    "happy_accounts": _OF_ACCOUNT,
    "happy_pairings": _OF_ACCOUNT,
}
"""The tables, each after those that its rows refer to, and which rows are an account's."""

_PROPER: Mapping[str, str] = {
    "Account": """"id" ~ '^[A-Za-z0-9_-]+$'""",
    "Session": """"id" ~ '^[A-Za-z0-9_-]+$'""",
    "UploadedFile": """"path" ~ '^public/' AND "path" !~ '(^|/)[.]{0,2}(/|$)'""",
}
"""What must be true of rows whose ids, or paths, lead to files."""

_MAYBE_HERE: Mapping[str, str] = {
    "GithubUser": "true",
    "happy_accounts": "line ->> 'accountId' = %(account)s",
}
"""Tables that may have the row already, and what must be true of the one that comes."""

_STILL = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; "
    "SET LOCAL idle_in_transaction_session_timeout = 0"
)
_THERE = 'SELECT "name" FROM unnest(%s::text[]) AS "name" WHERE to_regclass(quote_ident("name")) IS NOT NULL'
_FILES = 'SELECT "path" FROM "UploadedFile" WHERE "accountId" = %s ORDER BY "path"'
_SESSIONS = 'SELECT "id" FROM "Session" WHERE "accountId" = %s ORDER BY "id"'
_TAKEN = """
SELECT (SELECT "id" FROM "Account" WHERE "publicKey" = %(publicKey)s),
    EXISTS (SELECT 1 FROM "Account" WHERE "id" = %(id)s),
    EXISTS (SELECT 1 FROM "Account" WHERE "username" = %(username)s),
    EXISTS (SELECT 1 FROM "Account" WHERE "githubUserId" = %(githubUserId)s)
"""
_OF_THE_DATA = ("22", "23", "42")
"""Classes of SQLSTATEs: values, constraints, and columns that are not there."""
_ROOM = "CREATE TEMPORARY TABLE happy_incoming (line json) ON COMMIT DROP"

Finish = Callable[["Transaction"], Any]
"""What is done at the end of the same transaction."""


class Taken(Exception):
    """What is to be brought in is there already; the message is one line."""


class Owned(NamedTuple):
    """What an account has outside of the database: its sessions, below which files are, and public files."""

    sessions: list[str]
    files: list[str]


def owned(database: BlockingDatabase, account: str) -> Owned:
    """Where the files of an account are."""

    return database.transact(lambda tx: owned_within(tx, account))


async def owned_within(tx: Transaction, account: str) -> Owned:
    """As :func:`owned`, within a transaction."""
    sessions = [row[0] for row in await tx.rows(_SESSIONS, (account,))]
    return Owned(sessions, [row[0] for row in await tx.rows(_FILES, (account,))])


def write_rows(
    database: BlockingDatabase, account: str, writer: ArchiveWriter, place: Path
) -> dict[str, int]:
    """Add the account's rows as they are at this moment; how many there are of each table.

    A table's rows are first put into a file in the folder ``place``.
    """
    raw = database.connection.pollable()

    async def work(tx: Transaction) -> dict[str, int]:
        await tx.rows(_STILL)
        counts = {}
        there = {row[0] for row in await tx.rows(_THERE, (list(TABLES),))}
        for table in [table for table in TABLES if table in there]:
            with raw.cursor() as cursor, TemporaryFile(dir=place) as file:
                rows = f"SELECT * FROM {quote_ident(table, raw)} WHERE {TABLES[table]}"
                query = cursor.mogrify(f"SELECT row_to_json(r) FROM ({rows}) AS r", {"account": account})
                cursor.copy_expert(f"COPY ({query.decode()}) TO STDOUT", file)
                counts[table] = cursor.rowcount
                file.seek(0)
                writer.add(f"{ROWS}{table}", file)
        return counts

    return database.transact(work)


def bring_in(database: BlockingDatabase, archive: Archive, finish: Finish) -> list[str]:
    """Add an account's rows, all or none; what had to be left out, a line each.

    ``finish`` is called at the end of the transaction, and may add to the lines. Raises Taken, BadBackup, and
    QueryFailed for what is not the file's fault.
    """

    async def work(tx: Transaction) -> list[str]:
        left, changes = await _conflicts(tx, _account_row(archive))
        raw = database.connection.pollable()
        await tx.run(_ROOM)
        for table in TABLES:
            if archive.has(f"{ROWS}{table}"):
                with archive.open(f"{ROWS}{table}") as content:
                    brought = _insert(raw, table, content, changes if table == "Account" else {})
                await _refuse_of_others(tx, archive, table, brought)
        return [*left, *await finish(tx)]

    try:
        return database.transact(work)
    except UniqueViolation as error:
        raise Taken(f"something of it is here already ({error.diag.constraint_name})") from None
    except psycopg2.Error as error:
        if error.pgcode is not None and error.pgcode.startswith(_OF_THE_DATA):
            raise BadBackup(f"{archive.path} does not fit this database (state {error.pgcode})") from None
        raise explain(error, lost=not database.connection.alive) from None


async def _refuse_of_others(tx: Transaction, archive: Archive, table: str, brought: int) -> None:
    """Raise BadBackup if the rows just added are not all the account's: who made the file may mean harm."""
    if table in _MAYBE_HERE:
        query = f"SELECT %(brought)s, count(*) < 2 AND bool_and({_MAYBE_HERE[table]}) FROM happy_incoming"
    else:
        proper = _PROPER.get(table, "true")
        query = f'SELECT count(*), bool_and({proper}) FROM "{table}" WHERE {TABLES[table]}'
    ((found, good),) = await tx.rows(query, {"account": archive.manifest.account, "brought": brought})
    if found != brought or good is False:
        raise BadBackup(f'{archive.path} is damaged: it has rows in "{table}" that are not of its account')


def _account_row(archive: Archive) -> dict[str, Any]:
    """The account itself. COPY doubles each backslash."""
    with archive.open(f"{ROWS}Account") as content:
        line = content.read().removesuffix(b"\n").replace(b"\\\\", b"\\")
    try:
        found = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        raise BadBackup(f"{archive.path} is damaged: its account cannot be read") from None
    if found.get("id") != archive.manifest.account:
        raise BadBackup(f"{archive.path} is damaged: it has another account than it says")
    return {name: found.get(name) for name in ("id", "publicKey", "username", "githubUserId")}


async def _conflicts(tx: Transaction, account: Mapping[str, Any]) -> tuple[list[str], dict[str, None]]:
    """What has to be left out, and the columns that are null instead. Raises Taken."""
    ((other, same, name, github),) = await tx.rows(_TAKEN, account)
    if same:
        raise Taken(f"the account {account['id']} is here already")
    if other is not None:
        raise Taken(f"its key has another account here, {other}; delete that one first")
    left, changes = [], {}
    if github or name:
        changes = {"username": None, "githubUserId": None}
        left.append("the link to GitHub and the username, which another account has here")
    return left, changes


def _insert(raw: Any, table: str, content: IO[bytes], changes: Mapping[str, None]) -> int:
    """Add rows; how many."""
    name = quote_ident(table, raw)
    with raw.cursor() as cursor:
        cursor.execute("TRUNCATE happy_incoming")
        cursor.copy_expert("COPY happy_incoming FROM STDIN", content)
        if changes:
            change = msgspec.json.encode(changes).decode()
            cursor.execute("UPDATE happy_incoming SET line = (line::jsonb || %s::jsonb)::json", (change,))
        rows = f"SELECT r.* FROM happy_incoming, json_populate_record(NULL::{name}, line) AS r"
        unless = " ON CONFLICT DO NOTHING" if table in _MAYBE_HERE else ""
        cursor.execute(f"INSERT INTO {name} {rows}{unless}")
        brought: int = cursor.rowcount
    return brought
