"""What somebody has changed at tables so that statements fail there, or write nothing.

Columns are compared with those that the migrations made. With a trigger that leaves rows out, an insert that
wrote nothing looks like one that went well; and at a table with a rule some statements cannot be used at all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from happy.base.errors import StartupError
from happy.storage.connection import execute
from happy.storage.session import quoted

if TYPE_CHECKING:
    from happy.storage.connection import Connection

_TABLE: Final = re.compile(r'CREATE (?:UNLOGGED )?TABLE "(\w+)" \((.*?)\n\)', re.DOTALL)
_COLUMN: Final = re.compile(r'^    "(\w+)" ("?\w+"?)(?:\(\d+\))?((?:\[\])?)(.*)', re.MULTILINE)
_NAMED: Final = {"TIMESTAMP": "timestamp without time zone", "TIMESTAMPTZ": "timestamp with time zone"}

_TABLES: Final = """
   "relnamespace" = (SELECT "oid" FROM pg_namespace WHERE "nspname" = current_schema())
   AND "relname" = ANY (%s::text[])
"""

# What a domain restricts counts as what it is. A text with a bound is a text.
COLUMNS: Final = f"""
SELECT "relname"::text, "attname"::text,
       CASE "base"."typname" WHEN 'varchar' THEN 'text' ELSE format_type("base"."oid", NULL) END,
       "attnotnull" OR "type"."typnotnull", "attgenerated" <> '' OR "attidentity" = 'a'
  FROM pg_class JOIN pg_attribute ON "attrelid" = pg_class."oid" AND "attnum" > 0
  JOIN pg_type AS "type" ON "type"."oid" = "atttypid"
  JOIN pg_type AS "base" ON "base"."oid" = coalesce(nullif("type"."typbasetype", 0), "type"."oid")
 WHERE {_TABLES}
"""

# A trigger before a row (1) is written (2) leaves it out by returning nothing.
INTERFERING: Final = f"""
SELECT 'trigger', "tgname"::text, "relname"::text
  FROM pg_trigger JOIN pg_class ON pg_class."oid" = "tgrelid" JOIN pg_proc ON pg_proc."oid" = "tgfoid"
 WHERE {_TABLES} AND NOT "tgisinternal" AND "tgenabled" IN ('O', 'A')
   AND "tgtype" & 3 = 3 AND "prosrc" ~* '\\mreturn\\s+null\\M'
 UNION ALL
SELECT 'rule', "rulename"::text, "relname"::text
  FROM pg_rewrite JOIN pg_class ON pg_class."oid" = "ev_class"
 WHERE {_TABLES} AND "ev_type" <> '1' AND "ev_enabled" IN ('O', 'A')
 ORDER BY 1, 2, 3 LIMIT 1
"""


class MadeColumn(NamedTuple):
    """A column as a migration makes it."""

    table: str
    name: str
    type: str
    optional: bool


def columns_of(files: Iterable[str], *, but: Collection[str]) -> dict[tuple[str, str], MadeColumn]:
    """Those of all tables that these files make, ``but`` for some, by table and name."""
    return {
        (table, name): MadeColumn(
            table,
            name,
            _NAMED.get(kind, kind if '"' in kind else kind.lower()) + many,
            "NOT NULL" not in rest,
        )
        for sql in files
        for table, body in _TABLE.findall(sql)
        if table not in but
        for name, kind, many, rest in _COLUMN.findall(body)
    }


async def refuse_altered(connection: Connection, files: Iterable[str], *, but: Collection[str]) -> None:
    """Raise StartupError for a table of these files, ``but`` for some, that cannot be written as it must be.

    Columns that are not there are for others to miss.
    """
    made = columns_of(files, but=but)
    tables = sorted({table for table, _ in made})
    for table, name, kind, needed, computed in (await execute(connection, COLUMNS, [tables])).fetchall():
        column = made.get((table, name))
        if column is not None and (what := _changed(column, kind, needed=needed, computed=computed)):
            raise StartupError(f'the column "{name}" of the table "{table}" {what}')
    for what, name, table in (await execute(connection, INTERFERING, [tables, tables])).fetchall():
        raise StartupError(
            f'the {what} "{name}" may keep rows out of the table "{table}" unnoticed; '
            f"DROP {what.upper()} {quoted(name)} ON {quoted(table)}, or disable it"
        )


def _changed(column: MadeColumn, kind: str, *, needed: bool, computed: bool) -> str:
    """What is wrong with it, or nothing."""
    if kind != column.type:
        return f"has the type {kind} instead of {column.type}; give it that again"
    if computed:
        return "is computed by the database, and has to be written"
    if needed and column.optional:
        return "must not be empty in this database, and has to be able to; drop its NOT NULL"
    return ""
