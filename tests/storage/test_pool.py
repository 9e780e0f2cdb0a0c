"""Connections to PostgreSQL, and what they keep."""

from __future__ import annotations

import gc
import weakref

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from happy.base.coroutines import drive
from happy.base.errors import QueryFailed
from happy.storage.database import Transaction
from happy.storage.pool import LARGE_STATEMENT
from tests.harness import DatabaseCase


class Text(str):
    """A text that tells when it is gone."""

    __slots__ = ("__weakref__",)


class PoolTests(DatabaseCase):
    """The pool of a started database."""

    async def backend(self, size: int = 0) -> int:
        """The process that answers a statement of about so many bytes."""

        async def work(tx: Transaction) -> int:
            row = await tx.row("SELECT pg_backend_pid(), length(%s)", ("x" * size,))
            assert row is not None
            return int(row[0])

        return await self.database.read(work)

    async def test_swollen(self) -> None:
        """A connection is kept, but not after a statement of many bytes: the driver would keep as many."""
        first = await self.backend()
        self.assertEqual(await self.backend(LARGE_STATEMENT // 2), first)
        self.assertEqual(await self.backend(LARGE_STATEMENT + 1), first)
        second = await self.backend()
        self.assertNotEqual(second, first)
        self.assertEqual(await self.backend(), second)

    async def test_failures_are_freed(self) -> None:
        """A statement that fails leaves nothing of its parameters for Python's collector."""
        text = Text("no number")
        left = weakref.ref(text)

        async def work(tx: Transaction, texts: list[Text]) -> None:
            await tx.row("SELECT %s::text::integer", (texts.pop(),))

        texts = [text]
        del text
        ended: Deferred[object] = Deferred()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        reading = self.database.read(lambda tx: work(tx, texts))
        drive(reading, ended.callback, lambda error: ended.callback(type(error)))
        self.assertIs(await ended, QueryFailed)
        await deferLater(reactor, 0)  # type: ignore[arg-type]
        self.assertIsNone(left())
