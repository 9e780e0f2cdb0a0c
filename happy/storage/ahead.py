"""Numbers that clients compare, moved on: after a restore nobody may be ahead of the server.

A client that went on after a backup was made knows numbers that are not in it, and takes what comes with
lower ones for old. It asks for messages after the last that it knows; it takes a value over only if the
version is higher than its own, and until then tries to write its own and is refused, again and again.
"""

from __future__ import annotations

from typing import Final

AHEAD: Final = 10_000_000
"""By how much: more than is counted between a backup and its restore, and there is room for 200 of them."""

_MOST: Final = 2_000_000_000
"""Nothing is moved beyond this: PostgreSQL's integers end a little later."""

# Nobody looks at the numbers of updates, nor at those of machines and artifacts as a whole. A table that the
# original made long ago may have fewer columns.
MOVE_ON: Final = f"""
DO $$
DECLARE
    "found" record;
BEGIN
    FOR "found" IN
        SELECT c."table_name" AS "table", string_agg(
            format('%1$I = least(%1$I::bigint + {AHEAD}, greatest(%1$I, {_MOST}))', c."column_name"), ', '
        ) AS "moves"
        FROM "information_schema"."columns" AS c
        WHERE c."table_schema" = current_schema() AND (c."table_name", c."column_name") IN (
            ('Account', 'settingsVersion'), ('Account', 'feedSeq'),
            ('Session', 'seq'), ('Session', 'metadataVersion'), ('Session', 'agentStateVersion'),
            ('Machine', 'metadataVersion'), ('Machine', 'daemonStateVersion'),
            ('Artifact', 'headerVersion'), ('Artifact', 'bodyVersion'),
            ('AccessKey', 'dataVersion'),
            ('UserKVStore', 'version')
        ) GROUP BY 1
    LOOP
        EXECUTE format('UPDATE %I SET %s', "found"."table", "found"."moves");
    END LOOP;
END
$$
"""
