"""Reading the feed, on a real database."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.capabilities.feed import InvalidFeedCursor, _counter, post
from happy.realtime.updates import FeedText, FriendRequest
from happy.storage.feed import ABOVE_ALL
from happy.storage.transaction import Transaction
from tests.capabilities.asking import CapabilityCase
from tests.harness import psql


@pytest.mark.parametrize(
    "cursor", ["", "5", "0-", "0-x", "1-5", "0--5", "0-5 ", " 0-5", "0-5\n", "0-\u0665", "0-1e3"]
)
def test_malformed_cursors(cursor: str) -> None:
    """Whatever is not ``0-`` and digits is no cursor."""
    with pytest.raises(InvalidFeedCursor):
        _counter(cursor)


@given(st.integers(0, 10**30))
def test_cursors_fit_the_column(counter: int) -> None:
    """Every other number is one that the database takes; small ones stay what they are."""
    found = _counter(f"0-{counter}")
    assert 0 <= found <= ABOVE_ALL
    assert found == counter or counter >= 10**18
    assert _counter(f"0-000{counter}") == found


class FeedTests(CapabilityCase):
    async def filled(self, count: int) -> str:
        """An account with that many items."""
        account = await self.new_account()

        async def fill(tx: Transaction) -> None:
            for number in range(1, count + 1):
                await post(tx, account, FeedText(str(number)), None)

        await self.database.transact(fill, accounts=[account])
        return account

    async def read(self, account: str, query: str = "") -> tuple[list[str], bool]:
        answer = await self.ask("GET", f"/v1/feed{query}", account=account)
        self.assertEqual(answer.status, 200, answer.content)
        return [item["body"]["text"] for item in answer.json["items"]], answer.json["hasMore"]

    async def test_pages(self) -> None:
        """Items come newest first; both cursors bound, the later one to the page nearest the head."""
        account = await self.filled(7)
        self.assertEqual(await self.read(account), (list("7654321"), False))
        self.assertEqual(await self.read(account, "?limit=3"), (list("765"), True))
        self.assertEqual(await self.read(account, "?limit=3&before=0-5"), (list("432"), True))
        self.assertEqual(await self.read(account, "?limit=3&before=0-4"), (list("321"), False))
        self.assertEqual(await self.read(account, "?limit=3&after=0-2"), (list("765"), True))
        self.assertEqual(await self.read(account, "?limit=3&after=0-4"), (list("765"), False))
        self.assertEqual(await self.read(account, "?before=0-3&after=0-6"), (list("21"), False))
        self.assertEqual(await self.read(account, "?before=0-1"), ([], False))
        self.assertEqual(await self.read(account, "?after=0-99999999999999999999"), ([], False))
        self.assertEqual(await self.read(account, "?limit=1&before=0-99999999999999999999"), (["7"], True))

    async def test_feeds_are_private(self) -> None:
        """Nobody sees another account's items."""
        await self.filled(1)
        self.assertEqual(await self.read(await self.filled(0)), ([], False))

    async def test_bad_cursor(self) -> None:
        """A malformed cursor is the caller's mistake (D16)."""
        account = await self.filled(1)
        for query in ("before=5", "after=0-x", "before=", "before=1-5"):
            answer = await self.ask("GET", f"/v1/feed?{query}", account=account)
            self.assertEqual((answer.status, answer.json), (400, {"error": "Invalid cursor format"}))

    async def test_unknown_kinds_are_skipped(self) -> None:
        """Rows of unknown kinds or shapes are passed over, also when pages are counted (D16)."""
        account = await self.filled(5)
        bodies: list[Any] = [
            {"kind": "news"},
            {"kind": "text", "text": 5},
            [],
            "text",
            {"kind": "friend_request"},
        ]
        for counter, body in enumerate(bodies, 6):
            psql(
                self.dsn,
                'INSERT INTO "UserFeedItem" ("id", "userId", "counter", "body", "updatedAt") '
                "VALUES (%s, %s, %s, %s, now())",
                [f"{account}-{counter}", account, counter, msgspec.json.encode(body).decode()],
            )
        self.assertEqual(await self.read(account, "?limit=5"), (list("54321"), False))
        self.assertEqual(await self.read(account, "?limit=2"), (list("54"), True))

    async def test_unknown_members_are_stripped(self) -> None:
        """Of a known kind only the known members are shown."""
        account = await self.filled(1)
        psql(
            self.dsn,
            'UPDATE "UserFeedItem" SET "body" = %s WHERE "userId" = %s',
            ['{"kind": "text", "text": "x", "secret": 1}', account],
        )
        (item,) = (await self.ask("GET", "/v1/feed", account=account)).json["items"]
        self.assertEqual(item["body"], {"kind": "text", "text": "x"})

    async def test_replaced(self) -> None:
        """An item takes the place of the one with the same replace key, with the next counter."""
        account = await self.filled(1)
        for _ in range(2):
            await self.database.transact(
                lambda tx: post(tx, account, FriendRequest("u"), "key"), accounts=[account]
            )
        items = (await self.ask("GET", "/v1/feed", account=account)).json["items"]
        self.assertEqual([item["cursor"] for item in items], ["0-3", "0-1"])
        self.assertEqual([update.body.cursor for update in self.hub.updates][-2:], ["0-2", "0-3"])
