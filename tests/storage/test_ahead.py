"""Numbers after a restore."""

from __future__ import annotations

from happy.storage.ahead import AHEAD, MOVE_ON
from happy.storage.blocking import opened
from happy.storage.holders import holder
from tests.harness import psql, scratch_database

FILL = """
INSERT INTO "Account" ("id", "publicKey", "updatedAt") VALUES ('a', 'k', now());
INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "updatedAt", "seq", "metadataVersion") VALUES
    ('s', 'a', 's', 'm', now(), 3, 7);
INSERT INTO "UserKVStore" ("id", "accountId", "key", "value", "updatedAt") VALUES ('v', 'a', 'k', 'x', now());
"""
NUMBERS = """
SELECT s."seq", "metadataVersion", "agentStateVersion", a."settingsVersion", a."feedSeq", a."seq", v."version"
FROM "Session" AS s, "Account" AS a, "UserKVStore" AS v
"""


def test_ahead_of_everybody() -> None:
    """What clients compare goes on; whoever counts messages sees no difference."""
    with scratch_database() as dsn:
        psql(dsn, FILL)
        for time in (1, 2):
            psql(dsn, MOVE_ON)
            on = time * AHEAD
            assert psql(dsn, NUMBERS) == [(on + 3, on + 7, on, on, on, 0, on)]
        with opened(dsn, "tests") as database:
            found = database.transact(lambda tx: holder(tx, "a"))
        assert found is not None
        assert found.messages == 3


def test_the_end_of_numbers() -> None:
    """What is near its end stays, so that the next ones find room."""
    with scratch_database() as dsn:
        psql(dsn, FILL)
        psql(dsn, 'UPDATE "Session" SET "seq" = 2147483640')
        psql(dsn, MOVE_ON)
        assert psql(dsn, 'SELECT "seq" FROM "Session"') == [(2147483640,)]


def test_tables_of_long_ago() -> None:
    """A table that is not there, or a column, is no obstacle."""
    with scratch_database() as dsn:
        psql(dsn, FILL)
        psql(dsn, 'DROP TABLE "UserKVStore"; ALTER TABLE "Account" DROP COLUMN "feedSeq"')
        psql(dsn, MOVE_ON)
        assert psql(dsn, 'SELECT "settingsVersion" FROM "Account"') == [(AHEAD,)]
