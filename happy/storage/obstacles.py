"""What keeps a role from using a database: an old server, the encoding, missing rights, hidden rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from happy.base.errors import StartupError
from happy.storage.connection import execute
from happy.storage.session import quoted

if TYPE_CHECKING:
    from happy.storage.connection import Connection

OLDEST: Final = 13
"""The first version of PostgreSQL that has all that the statements use."""

SERVER = """
SELECT current_setting('server_version_num')::integer / 10000, current_setting('server_version'),
       current_setting('server_encoding')
"""

_TABLES = """
FROM pg_class AS "table"
WHERE "relnamespace" = (SELECT "oid" FROM pg_namespace WHERE "nspname" = current_schema())
  AND "relkind" = 'r' AND ("relname" = ANY (%s::text[]) OR starts_with("relname", 'happy_'))
"""

# A policy that lets everything through hides nothing.
HIDDEN = f"""
SELECT "relname"::text, current_user::text {_TABLES}
  AND row_security_active("table"."oid") AND (
    EXISTS (SELECT 1 FROM pg_policy WHERE "polrelid" = "table"."oid" AND NOT "polpermissive")
    OR NOT EXISTS (
        SELECT 1 FROM pg_policy
        WHERE "polrelid" = "table"."oid" AND "polpermissive" AND "polcmd" = '*'
          AND pg_get_expr("polqual", "polrelid") = 'true'
          AND coalesce(pg_get_expr("polwithcheck", "polrelid"), 'true') = 'true'
          AND EXISTS (
              SELECT 1 FROM unnest("polroles") AS "role" WHERE "role" = 0 OR pg_has_role("role", 'USAGE')
          )
    )
  ) ORDER BY 1 LIMIT 1
"""

# The record of the original's migrations is only read.
FORBIDDEN = f"""
SELECT "relname"::text, current_user::text, current_schema()::text {_TABLES}
  AND "relname" <> '_prisma_migrations' AND NOT (
    has_table_privilege("oid", 'SELECT') AND has_table_privilege("oid", 'INSERT')
    AND has_table_privilege("oid", 'UPDATE') AND has_table_privilege("oid", 'DELETE')
  ) ORDER BY 1 LIMIT 1
"""

NOT_CALLABLE = """
SELECT "proname"::text, current_user::text, current_schema()::text FROM pg_proc
WHERE "pronamespace" = (SELECT "oid" FROM pg_namespace WHERE "nspname" = current_schema())
  AND starts_with("proname", 'happy_') AND NOT has_function_privilege("oid", 'EXECUTE') ORDER BY 1 LIMIT 1
"""

_log = Logger()


async def refuse_unsuitable(connection: Connection, *, empty: bool) -> None:
    """Raise StartupError for a server that is too old, or an ``empty`` database for part of all texts."""
    ((number, version, encoding),) = (await execute(connection, SERVER)).fetchall()
    if number < OLDEST:
        raise StartupError(f"DATABASE_URL: PostgreSQL {version} is too old; it has to be {OLDEST} or later")
    if encoding != "UTF8":
        if empty:
            raise StartupError(
                f"the database is encoded in {encoding}, which cannot hold every text; "
                "make one with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
            )
        _log.warn(
            "the database is encoded in {encoding}: texts that this cannot hold are refused",
            encoding=encoding,
        )


async def refuse_hidden(connection: Connection, tables: Sequence[str]) -> None:
    """Raise StartupError for tables, of these and of ours, some rows of which this role may not see."""
    for table, role in (await execute(connection, HIDDEN, [list(tables)])).fetchall():
        raise StartupError(
            f'row-level security may hide rows of the table "{table}" from the role {role}; '
            f"ALTER ROLE {quoted(role)} BYPASSRLS, or ALTER TABLE {quoted(table)} DISABLE ROW LEVEL SECURITY"
        )


async def refuse_forbidden(connection: Connection, tables: Sequence[str]) -> None:
    """Raise StartupError for tables, of these and of ours, and functions that this role may not use."""
    for table, role, schema in (await execute(connection, FORBIDDEN, [list(tables)])).fetchall():
        raise StartupError(
            f'the role {role} may not read and change the table "{table}"; let its owner GRANT SELECT, '
            f"INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {quoted(schema)} TO {quoted(role)}"
        )
    for function, role, schema in (await execute(connection, NOT_CALLABLE)).fetchall():
        raise StartupError(
            f"the role {role} may not call the function {function}; let its owner GRANT EXECUTE "
            f"ON ALL FUNCTIONS IN SCHEMA {quoted(schema)} TO {quoted(role)}"
        )
