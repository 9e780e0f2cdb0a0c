"""What of ours a database has lost: functions, indexes, and tables that need not outlive PostgreSQL.

A dump that was restored in part, or a hand that tidied up, leaves a record of migrations some of whose work
is gone. What holds nothing that is kept is made again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from happy.base.errors import QueryFailed, StartupError
from happy.storage.connection import execute

if TYPE_CHECKING:
    from happy.storage.connection import Connection

# As the migrations are written: a function ends with its text, anything else with the first semicolon.
_CHANGES: Final = re.compile(
    r"^(?:CREATE FUNCTION (\w+)\(.*?^\$\$;"
    r'|CREATE (?:INDEX|UNIQUE INDEX|UNLOGGED TABLE) "(\w+)".*?;'
    r'|DROP (?:FUNCTION|INDEX) "?(\w+))',
    re.DOTALL | re.MULTILINE,
)

PRESENT = """
SELECT "name"::text FROM (
    SELECT "relname", "relnamespace" FROM pg_class
    UNION ALL SELECT "proname", "pronamespace" FROM pg_proc
) AS "made" ("name", "schema")
WHERE "schema" = (SELECT "oid" FROM pg_namespace WHERE "nspname" = current_schema())
"""

_log = Logger()


def additions(files: Sequence[str]) -> dict[str, str]:
    """What of that there is after these files, and the statement that makes each."""
    made: dict[str, str] = {}
    for change in (change for sql in files for change in _CHANGES.finditer(sql)):
        function, other, dropped = change.groups()
        if dropped is not None:
            made.pop(dropped, None)
        else:
            made[function or other] = change[0]
    return made


async def find_lost(connection: Connection, files: Sequence[str]) -> dict[str, str]:
    """Those of :func:`additions` that the database does not have, though it has seen these files."""
    present = {name for (name,) in (await execute(connection, PRESENT)).fetchall()}
    return {name: statement for name, statement in additions(files).items() if name not in present}


async def make_again(connection: Connection, lost: Mapping[str, str]) -> None:
    """Make what was lost. Raises StartupError for what cannot be."""
    for name, statement in lost.items():
        _log.warn("the database has lost {name}, which is made again", name=name)
        try:
            await execute(connection, statement)
        except QueryFailed as failed:
            raise StartupError(
                f"the database has lost {name}, which cannot be made again: {failed}"
            ) from None
