"""Values that are too large for one statement."""

from __future__ import annotations

import os
import random
from typing import Any

from happy.storage.pieces import LARGE, PIECE, SentAhead, any_large
from happy.storage.transaction import Transaction
from happy.storage.types import Jsonb, Texts
from tests.harness import DatabaseCase

TEXT = "".join(random.Random(3).choices("abc'\\\n%äß😀", k=LARGE + 1))
BYTES = os.urandom(LARGE + PIECE // 2)
TEXTS = [TEXT[: PIECE + 1], "", None, *("short" for _ in range(3)), TEXT[:PIECE], TEXT]

BLOBS = [None, b"", b"short", BYTES[: PIECE + 1], BYTES]


class PiecesTests(DatabaseCase):
    """What comes out is what went in."""

    async def returned(self, sql: str, params: Any) -> Any:
        """The first column of what a statement with large parameters answers."""

        async def work(tx: Transaction) -> Any:
            row = await tx.row(sql, params)
            self.assertNotEqual(await tx.row("SELECT to_regclass('pg_temp.happy_pieces')"), (None,))
            return row

        row = await self.database.transact(work)
        return row[0]

    async def test_every_kind_of_value(self) -> None:
        """Texts, bytes, JSON and lists of texts arrive whole, whatever they hold."""
        self.assertEqual(await self.returned("SELECT %s", [TEXT]), TEXT)
        self.assertEqual(await self.returned("SELECT %(value)s", {"value": BYTES}), BYTES)
        self.assertEqual(await self.returned("SELECT %s ->> 'key'", [Jsonb({"key": TEXT})]), TEXT)
        self.assertEqual(await self.returned("SELECT %s::text[]", [TEXTS]), TEXTS)
        self.assertEqual(await self.returned("SELECT %s::text[]", [Texts(TEXTS)]), TEXTS)
        self.assertEqual(await self.returned("SELECT %s::bytea[]", [BLOBS]), BLOBS)

    async def test_several_in_a_transaction(self) -> None:
        """Each statement has its own values, small ones among them."""

        async def work(tx: Transaction) -> list[Any]:
            sql = "SELECT left(%s, 5), %s, left(%s, 5), length(%s)"
            return [await tx.row(sql, [TEXT, n, TEXT[::-1], BYTES]) for n in range(2)]

        expected = [(TEXT[:5], n, TEXT[::-1][:5], len(BYTES)) for n in range(2)]
        self.assertEqual(await self.database.transact(work), expected)

    async def test_nothing_stays(self) -> None:
        """The connection has nothing of it afterwards; neither has one whose transaction failed."""
        database = self.make_database(size=1)

        async def work(tx: Transaction) -> None:
            await tx.row("SELECT %s", [TEXT])
            raise LookupError

        with self.assertRaises(LookupError):
            await database.transact(work)
        await database.transact(lambda tx: tx.row("SELECT %s", [TEXT]))
        left = await database.read(lambda tx: tx.row("SELECT to_regclass('pg_temp.happy_pieces')"))
        self.assertEqual(left, (None,))
        await database.stop()

    def test_statements_are_small(self) -> None:
        """No statement is much larger than a piece, nor are there many more than necessary."""
        ahead = list(SentAhead().split([["x" * 1000] * 5_000, BYTES, [b"x" * 1000] * 5_000, "small"])[1])
        sizes = [_size(params) for _, params in ahead]
        self.assertLess(max(sizes), 2 * PIECE)
        self.assertLess(len(ahead), 2 * (10_000_000 + len(BYTES)) / PIECE)

    def test_what_is_large(self) -> None:
        """A value counts by its length, a list of texts by that of all of them."""
        for small in ("x", b"x", 5, None, ["x"], [5], Jsonb({}), "x" * LARGE):
            self.assertFalse(any_large([small]))
        for large in (TEXT, BYTES, TEXTS, BLOBS, Jsonb(TEXT), ["x" * (LARGE // 2 + 1)] * 2):
            self.assertTrue(any_large({"value": large}))


def _size(params: Any) -> int:
    return sum(len(piece) for piece in params[-1] if piece is not None)
