"""The PostgreSQL of a ring, and what may happen to it."""

from __future__ import annotations

import signal

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.harness import cluster, psql

END_SESSIONS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

LISTENING = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%:n:%'
"""


class RingDatabase:
    """One database of the run's cluster, which is on this machine."""

    def __init__(self) -> None:
        self.dsn = cluster().create()

    def end_sessions(self) -> int:
        """End all sessions but one's own; how many there were."""
        ended: int = psql(self.dsn, END_SESSIONS)[0][0]
        return ended

    def listening(self) -> list[int]:
        """The processes that serve the nodes' sessions for hearing each other."""
        return [pid for (pid,) in psql(self.dsn, LISTENING)]

    def latest(self, account: str) -> int:
        """An account's number."""
        number: int = psql(self.dsn, 'SELECT "seq" FROM "Account" WHERE "id" = %s', (account,))[0][0]
        return number

    async def restart(self, number: signal.Signals) -> bool:
        """End the server by a signal and start it again; whether it is another one since."""
        before = self._started()
        restarting: Deferred[None] = deferToThread(cluster().restart, number)
        await restarting
        return self._started() != before

    def _started(self) -> str:
        return str(psql(self.dsn, "SELECT pg_postmaster_start_time()")[0][0])
