"""A committer on a real database."""

from __future__ import annotations

import random
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred

from happy.base.ids import new_cuid
from happy.metrics import Metrics
from happy.realtime.committer import Committer
from happy.realtime.hub import Hub
from happy.storage.messages import IncomingMessage
from happy.storage.types import Millis
from tests.harness import DatabaseCase, psql

NEW_SESSION = """
INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "updatedAt") VALUES (%s, %s, %s, '', %s)
"""


STORED = """
SELECT "seq", "localId", "content" ->> 'c' FROM "SessionMessage" WHERE "sessionId" = %s ORDER BY "seq"
"""


OVERSIZED_INDEX_KEY = "".join(random.Random(7).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9000))


NUMBER = 'SELECT "seq" FROM "Account" WHERE "id" = %s'


class CommitterCase(DatabaseCase):
    """A committer that delivers through a real hub."""

    def make_publisher(self) -> Hub:
        self.metrics = Metrics(CollectorRegistry())
        self.hub = Hub(self.metrics)
        return self.hub

    async def setUp(self) -> None:
        from twisted.internet import reactor

        await super().setUp()
        self.committer = Committer(reactor, self.database, self.hub, self.metrics)  # type: ignore[arg-type]
        self.committer.start()
        self.addCleanup(self.committer.stop)
        self.account = await self.new_account()
        self.session = await self.new_session(self.account)

    async def new_session(self, account: str) -> str:
        session = new_cuid()
        await self.database.transact(
            lambda tx: tx.run(NEW_SESSION, (session, account, session, Millis(tx.now)))
        )
        return session

    def send(
        self, *messages: tuple[str | None, str], session: str | None = None, **more: Any
    ) -> Deferred[Any]:
        rows = [IncomingMessage(local_id, content) for local_id, content in messages]
        return self.committer.append(self.account, session or self.session, rows, **more)

    def stored(self, session: str) -> list[tuple[Any, ...]]:
        return psql(self.dsn, STORED, (session,))
