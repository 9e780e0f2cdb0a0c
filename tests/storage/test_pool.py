"""Connections to PostgreSQL, and what they keep."""

from __future__ import annotations

import gc
import os
import socket
import weakref
from select import select

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from happy.base.coroutines import drive
from happy.base.errors import QueryFailed
from happy.storage.connection import LARGE_STATEMENT, Connection, Deadlines
from happy.storage.transaction import Transaction
from tests.harness import DatabaseCase


class Text(str):
    """A text that tells when it is gone."""

    __slots__ = ("__weakref__",)


READY = b"Z\0\0\0\5"
"""What the last message of an answer begins with; a byte follows."""


BEGIN = Deadlines.begin


def begin_late(deadlines: Deadlines, connection: Connection) -> None:
    """Begin when all of the answer is there, before it is first looked for."""
    answer = b""
    with socket.socket(fileno=os.dup(connection.fileno())) as wire:
        while answer[-6:-1] != READY:
            select([wire], [], [])
            answer = wire.recv(4096, socket.MSG_PEEK)
    BEGIN(deadlines, connection)


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

    async def test_large_texts_of_transactions(self) -> None:
        """What is large of a transaction's parameters goes in pieces: its connection is kept."""
        first, text = await self.backend(), "x" * (LARGE_STATEMENT + 1)
        row = await self.database.transact(lambda tx: tx.row("SELECT length(%s::text)", (text,)))
        self.assertEqual(row, (len(text),))
        self.assertEqual(await self.backend(), first)

    async def test_failures_are_freed(self) -> None:
        """A statement that fails leaves nothing of its parameters for Python's collector."""
        await self.assert_freed("no number")

    async def test_refusals_are_freed(self) -> None:
        """Nor does one that the driver refuses to send."""
        await self.assert_freed("\0")

    async def test_failures_at_once_are_freed(self) -> None:
        """Nor does one whose answer is there before it is first looked for."""
        self.patch(Deadlines, "begin", begin_late)
        await self.assert_freed("no number")

    async def assert_freed(self, parameter: str) -> None:
        text = Text(parameter)
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
        self.assertIsNone(self.database.connector.full_at)
        await deferLater(reactor, 0)  # type: ignore[arg-type]
        self.assertIsNone(left())
