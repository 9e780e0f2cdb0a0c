"""What of ours was lost, and is made again."""

from __future__ import annotations

import pytest
from twisted.logger import globalLogPublisher

from happy.base.errors import StartupError
from happy.storage.additions import additions
from happy.storage.migrate import load_migrations
from tests.harness import psql, run_migrations, scratch_database

FILES = [migration.sql for migration in load_migrations()[1:]]

MADE = r"""
SELECT "proname"::text, pg_get_functiondef("oid") FROM pg_proc WHERE starts_with("proname", 'happy_')
UNION ALL SELECT "relname"::text, pg_get_indexdef("oid") FROM pg_class
 WHERE starts_with("relname", 'happy_') AND "relkind" = 'i' AND "relname" NOT LIKE '%\_pkey'
UNION ALL SELECT "relname"::text, (
    SELECT string_agg("attname" || format_type("atttypid", "atttypmod"), ' ' ORDER BY "attnum")
      FROM pg_attribute WHERE "attrelid" = pg_class."oid" AND "attnum" > 0
) FROM pg_class WHERE "relpersistence" = 'u' AND "relkind" = 'r'
ORDER BY 1
"""

REMOVE = r"""
DO $$
DECLARE
    made record;
BEGIN
    FOR made IN SELECT "oid"::regprocedure AS "name" FROM pg_proc WHERE starts_with("proname", 'happy_') LOOP
        EXECUTE format('DROP FUNCTION %s', made."name");
    END LOOP;
    FOR made IN SELECT "relname" AS "name" FROM pg_class
        WHERE starts_with("relname", 'happy_') AND "relkind" = 'i' AND "relname" NOT LIKE '%\_pkey' LOOP
        EXECUTE format('DROP INDEX %I', made."name");
    END LOOP;
    DROP TABLE "happy_updates";
END
$$
"""


def test_everything_at_once() -> None:
    """All functions, indexes and unlogged tables that were removed are as before after a start."""
    told: list[str] = []

    def hear(event: object) -> None:
        told.append(str(event))

    with scratch_database() as dsn:
        before = psql(dsn, MADE)
        assert [name for name, _ in before] == sorted(additions(FILES))
        psql(dsn, REMOVE)
        assert psql(dsn, MADE) == []
        globalLogPublisher.addObserver(hear)
        try:
            run_migrations(dsn)
        finally:
            globalLogPublisher.removeObserver(hear)
        assert psql(dsn, MADE) == before
        assert all(any(name in line for line in told) for name, _ in before)


def test_what_was_removed_later() -> None:
    """What a later file replaced is made as that file says, and what it removed is not missed."""
    assert "happy_append_new_messages" not in additions(FILES)
    assert "p_writer" in additions(FILES)["happy_append_messages"]
    assert "p_writer" not in additions(FILES[:2])["happy_append_messages"]


def test_what_cannot_be_made() -> None:
    """An index that the rows do not fit any more is named, and nothing is changed."""
    with scratch_database() as dsn:
        psql(dsn, 'DROP INDEX "happy_backups_last_idx", "happy_refusals_lastAt_idx"')
        psql(dsn, """INSERT INTO "happy_backups" VALUES (now(), 1), (now(), 2)""")
        with pytest.raises(StartupError, match="has lost happy_backups_last_idx, .* refused .*23505"):
            run_migrations(dsn)
        assert psql(dsn, "SELECT to_regclass('\"happy_refusals_lastAt_idx\"')") == [(None,)]
