"""The log of updates: written with the numbers, read by whoever missed some."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from happy.base.errors import QueryFailed
from happy.storage import log
from happy.storage.append import AppendRow
from happy.storage.connection import Connection
from happy.storage.database import Database
from happy.storage.log import Gap
from happy.storage.pieces import PIECE, InPieces
from happy.storage.transaction import Note, Publication, Transaction
from happy.storage.types import Millis
from happy.storage.writer import Writer
from tests.harness import psql
from tests.storage.test_append import AppendCase

ROWS = """
SELECT "seq", "size", "session", "skip", "text" FROM "happy_updates" WHERE "account" = %s ORDER BY "seq"
"""

AGE = """
UPDATE "happy_updates" SET "at" = "at" - interval '4 minutes' WHERE "account" = %s
"""


class Room(NamedTuple):
    account: str
    session: str | None = None


def noting(publication: Publication) -> Note:
    """A row that tells the body as it is."""
    audience: Any = publication.audience
    skip: Any = publication.skip
    return Note(audience.account, publication.seq, audience.session, None, skip, publication.body)


class TestLog(AppendCase):
    """A database with a log."""

    async def setUp(self) -> None:
        await super().setUp()
        self.account, self.session = self.accounts[0], self.sessions[0]

    def make_database(self, **options: Any) -> Database:
        return super().make_database(noting=noting, **options)

    async def publish(self, *texts: str | InPieces) -> None:
        """One transaction."""

        async def work(tx: Any) -> None:
            for text in texts:
                tx.publish(Room(self.account, "s"), text, "socket")

        await self.database.transact(work, accounts=[self.account])

    async def gap(self, following: int = 1) -> Gap:
        found = await self.database.read(lambda tx: log.fill(tx, [(self.account, following)]))
        return found[self.account]

    async def test_what_is_published_is_noted(self) -> None:
        """Numbers, audience and text are there, and what is delivered has the same text."""
        await self.publish("one", "two")
        rows = [(1, 3, "s", "socket", "one"), (2, 3, "s", "socket", "two")]
        self.assertEqual(psql(self.dsn, ROWS, (self.account,)), rows)
        self.assertEqual([update.text for update in self.publisher.updates], ["one", "two"])

    async def test_a_large_text(self) -> None:
        """It is sent ahead in pieces, and read as it was, alone."""
        await self.publish("small", "x" * 2**21, "last")
        gap = await self.gap()
        self.assertEqual((gap.top, gap.covered, len(gap.rows)), (3, 2, 2))
        self.assertEqual(gap.rows[1].text, "x" * 2**21)
        self.assertEqual([row.text for row in (await self.gap(3)).rows], ["last"])

    async def test_a_text_in_pieces(self) -> None:
        """It goes into the log as it is written, between texts that are there, and nothing has all of it."""
        text = ("\U0001f600é" * 50_000 + "\n") * 30
        whole, longest = text.encode(), 0

        def portions() -> Iterator[bytes]:
            for start in range(0, len(text), 70_000):
                yield text[start : start + 70_000].encode()

        run = Connection.run

        def running(connection: Connection, sql: str, params: Any = None) -> Any:
            nonlocal longest
            longest = max(
                longest,
                sum(
                    len(text)
                    for values in params or ()
                    if isinstance(values, list)
                    for text in values
                    if isinstance(text, str)
                ),
            )
            return run(connection, sql, params)

        self.patch(Connection, "run", running)
        await self.publish("small", InPieces(len(text), portions), "last")
        self.assertLess(longest, 2 * PIECE)
        gap = await self.gap()
        self.assertEqual((gap.covered, [row.seq for row in gap.rows]), (2, [1, 2]))
        self.assertEqual(gap.rows[1].text, text)
        self.assertEqual([row.text for row in (await self.gap(3)).rows], ["last"])
        told = self.publisher.updates[1].text
        assert isinstance(told, InPieces)
        self.assertEqual(b"".join(told.portions()), whole)

    async def test_which_server_it_is(self) -> None:
        """As long as PostgreSQL runs it says the same."""
        first, second = await self.database.read(log.server), await self.database.read(log.server)
        self.assertEqual(first, second)
        self.assertNotEqual(first, "")

    async def test_what_rolls_back_is_not_noted(self) -> None:
        """No number, no row."""

        async def work(tx: Any) -> None:
            tx.publish(Room(self.account), "never")
            await tx.run("SELECT 1/0")

        with self.assertRaises(QueryFailed):
            await self.database.transact(work, accounts=[self.account])
        self.assertEqual((await self.gap()), Gap(0, 0, []))

    async def test_messages(self) -> None:
        """They are read from their own rows; one that was found already has none of its own."""
        row = AppendRow(self.account, self.session, "l", "m1", "sealed", "socket")
        for again in (row, row._replace(id="m2")):
            await Writer(self.database).append([again])
        gap = await self.gap()
        self.assertEqual((gap.top, gap.covered), (1, 1))
        [noted] = gap.rows
        assert noted.message is not None
        self.assertEqual(
            (noted.seq, noted.session, noted.skip, noted.text), (1, self.session, "socket", None)
        )
        self.assertEqual(noted.message[:4], ("m1", 1, "l", "sealed"))

    async def test_a_message_that_is_gone(self) -> None:
        """Its number is still there."""
        await Writer(self.database).append([AppendRow(self.account, self.session, None, "gone", "sealed")])
        psql(self.dsn, 'DELETE FROM "SessionMessage" WHERE "id" = %s', ("gone",))
        [noted] = (await self.gap()).rows
        self.assertEqual((noted.text, noted.message), (None, None))

    async def test_the_number_of_what_is_sent_again(self) -> None:
        """A batch whose answer was lost has the numbers that it took, whoever wrote since."""
        writer = Writer(self.database)
        rows = [AppendRow(self.account, self.session, None, "again", "sealed")]
        [first] = await writer.append(rows)
        await self.publish("of somebody else")
        writer._unanswered = 1
        self.assertEqual((await writer.append(rows))[0].account_seq, first.account_seq)

    async def test_many_rows(self) -> None:
        """Some hundreds are read at a time."""
        await self.publish(*map(str, range(log.FILL_ROWS + 2)))
        gap = await self.gap()
        self.assertEqual((gap.top, gap.covered), (log.FILL_ROWS + 2, log.FILL_ROWS))
        self.assertEqual(len((await self.gap(gap.covered + 1)).rows), 2)

    async def test_accounts_that_moved(self) -> None:
        """Forward or back; and the numbers of those that exist."""
        await self.publish("one")
        nexts = [(self.account, 1), (self.accounts[1], 1), (self.accounts[2], 9), ("nobody", 1)]
        found = await self.database.read(lambda tx: log.moved(tx, nexts))
        self.assertEqual(sorted(found), sorted([self.account, self.accounts[2]]))
        numbers = await self.database.read(lambda tx: log.numbers(tx, [self.account, "nobody"]))
        self.assertEqual(numbers, {self.account: 1})

    async def test_old_rows_go(self) -> None:
        """After three minutes, a limited number at a time."""
        await self.publish("old")
        psql(self.dsn, AGE, (self.account,))
        await self.publish("new")

        async def ahead(tx: Transaction) -> int:
            """A node whose clock is an hour ahead."""
            tx.now = Millis(tx.now + 3_600_000)
            return await log.trim(tx)

        self.assertEqual(await self.database.transact(ahead), 1)
        self.assertEqual(await self.database.transact(log.trim), 0)
        gap = await self.gap()
        self.assertEqual((gap.top, [row.seq for row in gap.rows]), (2, [2]))


class TestWithoutALog(AppendCase):
    """One node."""

    async def test_nothing_is_noted(self) -> None:
        """Neither of messages nor of anything else."""
        await Writer(self.database).append(self.one_each("sealed"))
        self.assertEqual(psql(self.dsn, 'SELECT "seq" FROM "happy_updates"'), [])
