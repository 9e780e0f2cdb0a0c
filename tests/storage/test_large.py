"""Values whose size clients decide, on a real database."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from happy.base.codecs import encode_base64
from happy.base.errors import ChangedMeanwhile
from happy.storage import artifacts, kv, messages, sessions
from happy.storage.large import ROOM, SLICE, Large, Page
from happy.storage.transaction import Transaction
from tests.harness import DatabaseCase, psql

NEW_MESSAGE = """
INSERT INTO "SessionMessage" ("id", "sessionId", "seq", "content", "updatedAt")
VALUES (%s, %s, %s, jsonb_build_object('c', %s::text, 't', 'encrypted'), now())
"""


class LargeCase(DatabaseCase):
    """An account with sessions of the sizes that a test wants."""

    async def setUp(self) -> None:
        await super().setUp()
        self.account = await self.new_account()

    async def session(self, tag: str, metadata: str, key: bytes | None = None) -> str:
        """The id of a new session."""

        async def work(tx: Transaction) -> str:
            row, _ = await sessions.get_or_create(
                tx, self.account, tag=tag, metadata=metadata, data_encryption_key=key
            )
            return row.id

        return await self.database.transact(work, accounts=[self.account])

    async def listed(self, limit: int = 10) -> Page[sessions.SessionRow]:
        """The sessions, the one changed last first."""
        return await self.database.read(lambda tx: sessions.recently_changed(tx, self.account, limit))

    async def read(self, value: Any) -> bytes:
        """All slices of a value."""
        assert isinstance(value, Large)
        whole = b""
        while True:
            part = await self.database.read(partial(value.read, start=len(whole)))
            whole += part
            if len(part) < SLICE:
                return whole


class PageTests(LargeCase):
    """What a statement answers, and what it leaves out."""

    async def test_whole(self) -> None:
        """Contents that have room come with their rows, up to the last byte."""
        await self.session("one", "m" * (ROOM - 3), b"key")
        page = await self.listed()
        self.assertTrue(page.whole)
        self.assertEqual((page.rows[0].metadata, page.rows[0].agent_state), ("m" * (ROOM - 3), None))
        self.assertEqual(page.sizes, [ROOM])

    async def test_too_much(self) -> None:
        """One byte more, and no content comes; what is null stays so, and the rest of the row is there."""
        one = await self.session("one", "m" * (ROOM - 3), b"key")
        two = await self.session("two", "x")
        page = await self.listed()
        self.assertFalse(page.whole)
        self.assertEqual([row.id for row in page.rows], [two, one])
        self.assertEqual((page.rows[0].agent_state, page.rows[0].metadata_version), (None, 0))
        self.assertEqual(await self.read(page.rows[0].metadata), b"x")
        self.assertEqual(await self.read(page.rows[1].metadata), b"m" * (ROOM - 3))
        self.assertEqual(await self.read(page.rows[1].data_encryption_key), b"key")
        self.assertEqual(page.sizes, [1, ROOM])

    async def test_first(self) -> None:
        """A page can be cut."""
        for tag in "abc":
            await self.session(tag, tag)
        page = await self.listed()
        self.assertIs(page.first(3), page)
        self.assertEqual([row.metadata for row in page.first(2).rows], ["c", "b"])
        self.assertEqual(page.first(2).sizes, [1, 1])

    async def test_named(self) -> None:
        """Rows are found again by their ids, in that order, if they are there and the account's."""
        one, two = await self.session("one", "1"), await self.session("two", "2")
        stranger = await self.new_account()
        page = await self.database.read(lambda tx: sessions.named(tx, self.account, [two, "none", one]))
        self.assertEqual([row.metadata for row in page.rows], ["2", "1"])
        page = await self.database.read(lambda tx: sessions.named(tx, stranger, [two, one]))
        self.assertEqual(page.rows, [])

    async def test_entries(self) -> None:
        """Locked keys that are too large together come without values as well."""

        async def work(tx: Transaction) -> dict[str, kv.Slot]:
            values = {"a": b"a" * ROOM, "b": b"b", "c": None}
            await kv.write(tx, self.account, {key: kv.Slot(value, 0) for key, value in values.items()})
            return await kv.lock(tx, self.account, ["a", "b", "c", "d"])

        stored = await self.database.transact(work, accounts=[self.account])
        self.assertEqual(set(stored), {"a", "b", "c"})
        self.assertIsNone(stored["c"].value)
        self.assertEqual(await self.read(stored["b"].value), b"b")


class SliceTests(LargeCase):
    """Reading a value by and by."""

    async def test_text(self) -> None:
        """Slices of a text are bytes of its UTF-8, wherever they cut a character."""
        text = "a" * (SLICE - 1) + "€😀" * SLICE
        await self.session("one", text)
        [row] = (await self.listed()).rows
        self.assertEqual((await self.read(row.metadata)).decode(), text)

    async def test_bytes(self) -> None:
        """Slices of bytes are these bytes; one that ends with a slice has an empty one after it."""
        body = os.urandom(2 * SLICE)

        async def work(tx: Transaction) -> Any:
            await artifacts.get_or_create(
                tx, self.account, "a", header=b"h", body=body, data_encryption_key=b"k"
            )
            return await artifacts.find(tx, self.account, "a")

        row = await self.database.transact(work, accounts=[self.account])
        self.assertEqual(await self.read(row.body), body)
        self.assertEqual(await self.read(row.header), b"h")

    async def test_json(self) -> None:
        """Slices of JSON are its text; compressed, it counts for what it may be."""
        session = await self.session("one", "m")
        for seq, content in enumerate(["\x01" * ROOM, encode_base64(os.urandom(ROOM))], 1):
            psql(self.dsn, NEW_MESSAGE, (f"{session}-{seq}", session, seq, content))
        page = await self.database.read(lambda tx: messages.after(tx, self.account, session, 0, 10))
        assert page is not None
        self.assertFalse(page.whole)
        self.assertGreater(page.sizes[0], ROOM // 2)
        text = await self.read(page.rows[0].content)
        self.assertEqual(text, b'{"c": "' + b"\\u0001" * ROOM + b'", "t": "encrypted"}')

    async def test_changed(self) -> None:
        """A value that became another one, or is gone, is not continued."""
        session = await self.session("one", "m" * (ROOM + 1))
        [row] = (await self.listed()).rows
        value: Any = row.metadata
        await self.database.read(lambda tx: value.read(tx, 0))
        await self.database.transact(
            lambda tx: sessions.set_metadata(tx, self.account, session, "n", 0), accounts=[self.account]
        )
        with self.assertRaises(ChangedMeanwhile):
            await self.database.read(lambda tx: value.read(tx, SLICE))
        key: Any = (await self.listed()).rows[0].metadata
        self.assertEqual(key, "n")

    async def test_deleted(self) -> None:
        """Nor one whose row was deleted."""
        session = await self.session("one", "m" * (ROOM + 1))
        [row] = (await self.listed()).rows
        value: Any = row.metadata
        await self.database.transact(
            lambda tx: sessions.delete(tx, self.account, session), accounts=[self.account]
        )
        with self.assertRaises(ChangedMeanwhile):
            await self.database.read(lambda tx: value.read(tx, 0))
