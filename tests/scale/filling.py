"""Large accounts, made by PostgreSQL itself: rows that look like a busy server's, in seconds.

One account has most of what there is. Its sessions are ``s000001``, ``s000002``...: most ended long ago, a
few are alive; the first one has nearly all messages. Other accounts are there too, so that the planner's
statistics are of more than one account.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg2

BIG = "a000000"
"""The account that has most of everything, unless it is told otherwise."""

LARGEST = "s000001"
"""The session that has most messages."""

ALIVE = 40
"""Sessions and machines of the account with a recent sign of life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything; ``others`` is how many small accounts there are beside the large one.

    Messages that are ``sealed`` cannot be compressed any more than what clients encrypt.
    """

    account: str = BIG
    sessions: int = 10_000
    messages: int = 30_000
    machines: int = 200
    reports: int = 10_000
    feed: int = 10_000
    others: int = 2_000
    content: int = 100
    sealed: bool = False


ACCOUNTS = """
INSERT INTO "Account" ("id", "publicKey", "createdAt", "updatedAt", "feedSeq")
SELECT id, 'KEY-' || id, now(), now(), %(feed)s
FROM (
    SELECT %(account)s UNION SELECT 'o' || lpad(n::text, 6, '0') FROM generate_series(1, %(others)s) AS n
) AS made (id)
ON CONFLICT ("id") DO UPDATE SET "feedSeq" = EXCLUDED."feedSeq"
"""

# Times: one session a minute, up to now; only the last ones are alive.
SESSIONS = """
INSERT INTO "Session" (
    "id", "accountId", "seq", "tag", "metadata", "active", "lastActiveAt", "createdAt", "updatedAt"
)
SELECT 's' || lpad(n::text, 6, '0'), %(account)s, CASE n WHEN 1 THEN %(messages)s ELSE 0 END, 'tag ' || n,
    repeat(md5(n::text), 10), n > %(sessions)s - %(alive)s, at, at, at
FROM (
    SELECT n, CASE WHEN n > %(sessions)s - %(alive)s THEN now() ELSE now() - (n * interval '1 minute') END
    FROM generate_series(1, %(sessions)s) AS n
) AS made (n, at)
"""

# Every other account has two sessions, and one machine.
OTHER_SESSIONS = """
INSERT INTO "Session" (
    "id", "accountId", "seq", "tag", "metadata", "active", "lastActiveAt", "createdAt", "updatedAt"
)
SELECT 't' || lpad(n::text, 6, '0'), 'o' || lpad((n %% %(others)s + 1)::text, 6, '0'), 10, 'tag ' || n,
    repeat(md5(n::text), 10), n %% 5 = 0, at, at, at
FROM (
    SELECT n, CASE n %% 5 WHEN 0 THEN now() ELSE now() - (n * interval '10 minute') END
    FROM generate_series(1, 2 * %(others)s) AS n
) AS made (n, at)
"""

MESSAGES = """
INSERT INTO "SessionMessage" ("id", "sessionId", "localId", "seq", "content", "createdAt", "updatedAt")
SELECT 'm' || lpad(n::text, 9, '0'), 's000001', 'local ' || n, n,
    jsonb_build_object('t', 'encrypted', 'c', left(CASE WHEN %(sealed)s THEN (
        SELECT string_agg(replace(encode(sha512((n || ' ' || k)::bytea), 'base64'), E'\n', ''), '')
        FROM generate_series(0, %(content)s / 88) AS k
    ) ELSE repeat(md5(n::text), 1 + %(content)s / 32) END, %(content)s)),
    now(), now()
FROM generate_series(1, %(messages)s) AS n
"""

OTHER_MESSAGES = """
INSERT INTO "SessionMessage" ("id", "sessionId", "localId", "seq", "content", "createdAt", "updatedAt")
SELECT 'n' || lpad(s::text, 6, '0') || '-' || n, 't' || lpad(s::text, 6, '0'), 'local ' || n, n,
    jsonb_build_object('t', 'encrypted', 'c', md5(n::text)), now(), now()
FROM generate_series(1, 2 * %(others)s) AS s, generate_series(1, 10) AS n
"""

MACHINES = """
INSERT INTO "Machine" ("id", "accountId", "metadata", "active", "lastActiveAt", "createdAt", "updatedAt")
SELECT 'h' || lpad(n::text, 6, '0'), %(account)s, repeat(md5(n::text), 10), n <= %(alive)s, at, at, at
FROM (
    SELECT n, CASE WHEN n <= %(alive)s THEN now() ELSE now() - (n * interval '1 hour') END
    FROM generate_series(1, %(machines)s) AS n
) AS made (n, at)
"""

OTHER_MACHINES = """
INSERT INTO "Machine" ("id", "accountId", "metadata", "active", "lastActiveAt", "createdAt", "updatedAt")
SELECT 'i' || lpad(n::text, 6, '0'), 'o' || lpad(n::text, 6, '0'), repeat(md5(n::text), 10),
    n %% 5 = 0, at, at, at
FROM (
    SELECT n, CASE n %% 5 WHEN 0 THEN now() ELSE now() - (n * interval '1 hour') END
    FROM generate_series(1, %(others)s) AS n
) AS made (n, at)
"""

REPORTS = """
INSERT INTO "UsageReport" ("id", "key", "accountId", "sessionId", "data", "createdAt", "updatedAt")
SELECT 'u' || n, 'key', %(account)s, 's' || lpad((n %% %(sessions)s + 1)::text, 6, '0'),
    jsonb_build_object(
        'tokens', jsonb_build_object(
            'total', n, 'input', n, 'output', n, 'cache_creation', n, 'cache_read', n
        ),
        'cost', jsonb_build_object('total', 0.5, 'input', 0.2, 'output', 0.3)
    ), at, at
FROM (
    SELECT n, now() - (n * interval '1 hour') FROM generate_series(1, least(%(reports)s, %(sessions)s)) AS n
) AS made (n, at)
"""

FEED = """
INSERT INTO "UserFeedItem" ("id", "userId", "counter", "repeatKey", "body", "createdAt", "updatedAt")
SELECT 'f' || n, %(account)s, n, 'key ' || n,
    jsonb_build_object('kind', 'text', 'text', 'hello ' || n), now(), now()
FROM generate_series(1, %(feed)s) AS n
"""

_OTHERS = (ACCOUNTS, OTHER_SESSIONS, OTHER_MACHINES, OTHER_MESSAGES)
_ACCOUNT = (SESSIONS, MACHINES, REPORTS, FEED, MESSAGES)


def fill_others(dsn: str, size: Size) -> None:
    """Fill a migrated database with the accounts, and everything of the small ones."""
    _run(dsn, _OTHERS, size)


def fill_account(dsn: str, size: Size) -> None:
    """Give the large account everything that is its own; the accounts are there."""
    _run(dsn, _ACCOUNT, size)


def analyse(dsn: str) -> None:
    """Let the planner look at the tables, and clean them."""
    _run(dsn, ("VACUUM ANALYZE",), Size())


def _run(dsn: str, statements: Sequence[str], size: Size) -> None:
    values = {name: getattr(size, name) for name in Size.__slots__} | {"alive": ALIVE}
    connection = psycopg2.connect(dsn, options="-c TimeZone=UTC")
    connection.autocommit = True
    try:
        cursor = connection.cursor()
        # As a superuser: without looking every reference up.
        cursor.execute("SET session_replication_role = replica")
        for statement in statements:
            cursor.execute(statement, values)
    finally:
        connection.close()
