"""Batches of messages, each stored exactly once whatever becomes of its answer."""

from __future__ import annotations

from typing import Any

from happy.base.errors import ConnectionLost, QueryFailed
from happy.base.ids import new_cuid
from happy.storage.append import AppendedRow, AppendRow, append, find_or_give_up
from happy.storage.types import Millis
from happy.storage.writer import Writer
from tests.harness import DatabaseCase, psql
from tests.storage.working import publishes

NEW_SESSION = """
INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "updatedAt") VALUES (%s, %s, %s, '', %s)
"""

STORED = """
SELECT "seq", "content" ->> 'c' FROM "SessionMessage" WHERE "sessionId" = %s ORDER BY "seq"
"""

OVER_A_WEEK_OLD = """
UPDATE "happy_appended" SET "at" = "at" - interval '8 days' WHERE "writer" = %s
"""


class AppendCase(DatabaseCase):
    """Three accounts with a session each."""

    async def setUp(self) -> None:
        await super().setUp()
        self.accounts = sorted([await self.new_account() for _ in range(3)])
        self.sessions = [await self.new_session(account) for account in self.accounts]

    async def new_session(self, account: str) -> str:
        session = new_cuid()
        await self.database.transact(
            lambda tx: tx.run(NEW_SESSION, (session, account, session, Millis(tx.now)))
        )
        return session

    def rows(self, *wanted: tuple[int, str | None, str]) -> list[AppendRow]:
        """Messages, each as the account's place, a local id and a content."""
        return [
            AppendRow(self.accounts[place], self.sessions[place], local_id, new_cuid(), content)
            for place, local_id, content in wanted
        ]

    def one_each(self, content: str) -> list[AppendRow]:
        """A message of each account."""
        return self.rows(*[(place, None, content) for place in range(3)])

    def numbers(self) -> list[int]:
        """What the accounts' numbers have reached."""
        found = psql(self.dsn, 'SELECT "id", "seq" FROM "Account"')
        return [dict(found)[account] for account in self.accounts]

    def stored(self, place: int) -> list[tuple[Any, ...]]:
        return psql(self.dsn, STORED, (self.sessions[place],))


class LosesAnswers:
    """A database as a writer sees it, which loses the answers to the next ``lost`` calls."""

    notes = False

    def __init__(self, database: Any, lost: int, arrives: bool) -> None:
        self.database, self.lost, self.arrives = database, lost, arrives

    async def apply(self, work: Any, **how: Any) -> Any:
        self.lost -= 1
        if self.lost < 0:
            return await self.database.apply(work, **how)
        if self.arrives:
            await self.database.apply(work, **how)
        raise ConnectionLost(None)


def placed(rows: list[AppendedRow]) -> list[tuple[int, bool, int, int | None]]:
    return [(row.row, row.new, row.seq, row.account_seq) for row in rows]


class WriterTests(AppendCase):
    """What a writer finds out about a batch whose answer was lost."""

    async def lose(self, rows: list[AppendRow], *, times: int = 1, arrives: bool = True) -> Writer:
        """A writer that lost the answers to its first attempts at some rows."""
        writer = Writer(LosesAnswers(self.database, times, arrives))  # type: ignore[arg-type]
        for _ in range(times):
            with self.assertRaises(ConnectionLost):
                await writer.append(rows)
            self.assertTrue(writer.in_doubt)
        return writer

    async def test_several_accounts_in_a_batch(self) -> None:
        """Each account's messages come back with the numbers that they took."""
        rows = self.rows((0, None, "a"), (0, None, "b"), (1, None, "c"), (2, "l", "d"), (2, None, "e"))
        writer = await self.lose(rows)
        answer = await writer.append(rows)
        self.assertFalse(writer.in_doubt)
        self.assertEqual([row.seq for row in answer], [1, 2, 1, 1, 2])
        self.assertEqual([row.account_seq for row in answer], [1, 2, 1, 1, 2])
        self.assertEqual([row.id for row in answer], [row.id for row in rows])
        self.assertTrue(all(row.created_at == row.updated_at > 0 for row in answer))
        self.assertEqual(self.numbers(), [2, 1, 2])
        again = await writer.append(self.one_each("more"))
        self.assertEqual([row.account_seq for row in again], [3, 2, 3])

    async def test_the_answer_is_lost_more_than_once(self) -> None:
        """A batch whose fate could not be asked for at first is looked for until it is known."""
        rows = self.one_each("once")
        writer = await self.lose(rows, times=3)
        self.assertEqual(placed(await writer.append(rows)), [(n, True, 1, 1) for n in (1, 2, 3)])
        self.assertEqual(self.numbers(), [1, 1, 1])

    async def test_a_batch_that_never_arrived(self) -> None:
        """What was not stored is stored then."""
        rows = self.one_each("late")
        writer = await self.lose(rows, times=2, arrives=False)
        self.assertEqual(placed(await writer.append(rows)), [(n, True, 1, 1) for n in (1, 2, 3)])
        self.assertEqual([self.stored(place) for place in range(3)], [[(1, "late")]] * 3)

    async def test_another_server_writes_in_between(self) -> None:
        """Numbers that others have taken since are not taken for the batch's own."""
        rows = self.one_each("ours")
        writer = await self.lose(rows)
        await self.database.transact(publishes(*self.accounts), accounts=self.accounts)
        await Writer(self.database).append(self.one_each("theirs"))
        self.assertEqual(placed(await writer.append(rows)), [(n, True, 1, 1) for n in (1, 2, 3)])
        self.assertEqual(self.numbers(), [3, 3, 3])

    async def test_whatever_else_the_batch_held(self) -> None:
        """Messages that were there already come back as such, and those of foreign sessions do not."""
        await Writer(self.database).append(self.rows((1, "known", "first")))
        foreign = AppendRow(self.accounts[1], self.sessions[2], None, new_cuid(), "foreign")
        for known in (False, True):
            local_id = "known" if known else None
            rows = self.rows((0, None, "a"), (1, local_id, "b"), (1, None, "c"))
            rows = sorted([*rows, foreign._replace(id=new_cuid())], key=lambda row: row[:2])
            own = [row for row in rows if row.content != "foreign"]
            expected = [(row.content, row.content != "b" or not known) for row in own]
            writer = await self.lose(rows)
            found = await writer.append(rows)
            self.assertEqual([(rows[row.row - 1].content, row.new) for row in found], expected)
            self.assertEqual([row.account_seq is None for row in found], [not row.new for row in found])
        self.assertEqual(self.numbers(), [2, 4, 0])
        self.assertEqual(self.stored(2), [])

    async def test_many(self) -> None:
        """However many there are, each is stored as it is, and its local id is known again."""
        texts = ["", "NULL", '"', "\\", '\\"', "{a,b}", "'", "a\nb", " ", "😀ß", "%s", '","']
        rows = self.rows(*[(0, text or None, text) for text in texts])
        writer = Writer(self.database)
        self.assertEqual(len(await writer.append(rows)), len(rows))
        self.assertEqual([content for _, content in self.stored(0)], texts)
        again = await writer.append([row._replace(id=new_cuid()) for row in rows])
        self.assertEqual([row.new for row in again], [True, *[False] * (len(rows) - 1)])
        with self.assertRaises(QueryFailed):
            await writer.append(self.rows(*[(0, None, "x\0")] * len(texts)))
        self.assertFalse(writer.in_doubt)
        nowhere = [row._replace(session="nowhere", id=new_cuid()) for row in rows]
        self.assertEqual(await writer.append(nowhere), [])

    async def test_nothing_of_it_was_stored(self) -> None:
        """A batch of which every message is somebody else's has an answer too: none."""
        rows = [AppendRow(self.accounts[0], "nowhere", None, new_cuid(), "x")]
        writer = await self.lose(rows)
        self.assertEqual(await writer.append(rows), [])

    async def test_a_refused_batch_is_in_no_doubt(self) -> None:
        """What PostgreSQL refused was not stored: anything may be appended next."""
        writer = Writer(self.database)
        with self.assertRaises(QueryFailed):
            await writer.append(self.rows((0, None, "\0")))
        self.assertFalse(writer.in_doubt)
        self.assertEqual(placed(await writer.append(self.rows((0, None, "x")))), [(1, True, 1, 1)])


class LateTests(AppendCase):
    """Statements that arrive after their connection was given up."""

    async def setUp(self) -> None:
        await super().setUp()
        self.writer = new_cuid()

    async def append(self, batch: int, rows: list[AppendRow]) -> list[AppendedRow]:
        return await self.database.apply(lambda tx: append(tx, self.writer, batch, rows, noted=False))

    async def give_up(self, batch: int, rows: list[AppendRow]) -> list[AppendedRow] | None:
        return await self.database.apply(lambda tx: find_or_give_up(tx, self.writer, batch, rows))

    async def test_a_batch_that_was_given_up(self) -> None:
        """It is not stored any more, all at once or one by one."""
        await self.append(1, self.rows((0, "known", "x")))
        for batch, local_id in ((2, None), (3, "known")):
            rows = self.rows((0, local_id, "late"), (1, None, "late"))
            self.assertIsNone(await self.give_up(batch, rows))
            with self.assertRaises(QueryFailed):
                await self.append(batch, rows)
        self.assertEqual(self.numbers(), [1, 0, 0])

    async def test_a_batch_that_was_stored_already(self) -> None:
        """It is not stored again, with or without local ids, whether or not the writer went on."""
        rows = self.rows((0, None, "once"), (1, "l", "once"))
        await self.append(1, rows)
        with self.assertRaises(QueryFailed):
            await self.append(1, rows)
        await self.append(2, self.rows((2, None, "x")))
        with self.assertRaises(QueryFailed):
            await self.append(1, rows)
        with self.assertRaises(QueryFailed):
            await self.append(1, self.rows((0, None, "other rows")))
        self.assertEqual(self.numbers(), [1, 1, 1])

    async def test_giving_up_comes_late(self) -> None:
        """Once the writer went on, an earlier batch is not given up, and the later one is still known."""
        rows = self.one_each("x")
        await self.append(2, rows)
        with self.assertRaises(AssertionError):
            await self.give_up(1, rows)
        found = await self.give_up(2, rows)
        assert found is not None
        self.assertEqual(placed(found), [(n, True, 1, 1) for n in (1, 2, 3)])

    async def test_old_writers_are_forgotten(self) -> None:
        """What a writer left is removed a week later, when a server starts."""
        await self.append(1, self.one_each("x"))
        old, self.writer = self.writer, new_cuid()
        await self.append(1, self.one_each("x"))
        psql(self.dsn, OVER_A_WEEK_OLD, (old,))
        other = self.make_database()
        await other.start()
        await other.stop()
        found = psql(self.dsn, 'SELECT "writer" FROM "happy_appended"')
        self.assertNotIn((old,), found)
        self.assertIn((self.writer,), found)
