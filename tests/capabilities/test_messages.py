"""Messages over HTTP and sockets (http.md 6.4, realtime.md B.6)."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, gatherResults

from tests.capabilities.calling import CallingCase
from tests.harness import psql


def batch(*pairs: tuple[str, str]) -> dict[str, Any]:
    """A request's body from pairs of content and local id."""
    return {"messages": [{"content": content, "localId": local} for content, local in pairs]}


class AppendingTests(CallingCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.account = await self.new_account()
        self.session = await self.open_session(self.account)
        self.path = f"/v3/sessions/{self.session}/messages"
        self.heard(self.account)

    async def _stored(self) -> list[list[Any]]:
        page = await self.get(self.account, self.path)
        return [[m["seq"], m["localId"], m["content"]["c"]] for m in page["messages"]]

    async def test_batch(self) -> None:
        """A batch is numbered in order, answered without contents and announced message by message."""
        answer = await self.post(self.account, self.path, batch(("one", "a"), ("", "b"), ("again", "a")))
        first, second = answer["messages"]
        self.assertEqual([first["seq"], first["localId"]], [1, "a"])
        self.assertEqual([second["seq"], second["localId"]], [2, "b"])
        self.assertEqual(set(first), {"id", "seq", "localId", "createdAt", "updatedAt"})
        self.assertEqual(await self._stored(), [[1, "a", "one"], [2, "b", ""]])
        announced = [
            {"t": "new-message", "sid": self.session, "message": {**receipt, "content": content}}
            for receipt, content in (
                (first, {"t": "encrypted", "c": "one"}),
                (second, {"t": "encrypted", "c": ""}),
            )
        ]
        self.assertEqual(self.heard(self.account), announced)

    async def test_repetition(self) -> None:
        """Repeated local ids keep their row and are announced once; nothing new leaves the session alone."""
        await self.post(self.account, self.path, batch(("one", "a"), ("two", "b")))
        self.heard(self.account)
        before = await self.get(self.account, "/v1/sessions")
        answer = await self.post(self.account, self.path, batch(("other", "b")))
        self.assertEqual([message["seq"] for message in answer["messages"]], [2])
        self.assertEqual(await self.get(self.account, "/v1/sessions"), before)
        answer = await self.post(self.account, self.path, batch(("three", "c"), ("x", "a")))
        self.assertEqual([m["localId"] for m in answer["messages"]], ["a", "c"])
        self.assertEqual(await self._stored(), [[1, "a", "one"], [2, "b", "two"], [3, "c", "three"]])
        self.assertEqual([body["message"]["localId"] for body in self.heard(self.account)], ["c"])

    async def test_not_owned(self) -> None:
        """Unknown and foreign sessions are not found, and nothing is stored."""
        stranger = await self.new_account()
        for path in (self.path, "/v3/sessions/none/messages"):
            answer = await self.request(stranger, "POST", path, batch(("c", "l")))
            self.assertEqual(answer, (404, {"error": "Session not found"}))
        self.assertEqual(await self._stored(), [])

    async def test_sizes(self) -> None:
        """A thousand messages fit a batch, one more does not (D46)."""
        many = [(f"m{n}", f"l{n}") for n in range(1000)]
        answer = await self.post(self.account, self.path, batch(*many))
        self.assertEqual([m["seq"] for m in answer["messages"]], list(range(1, 1001)))
        refused = await self.request(self.account, "POST", self.path, batch(*many, ("m", "l")))
        self.assertEqual(refused.status, 400)
        self.assertIn("body/messages Too big", refused.body["message"])

    async def test_unfit(self) -> None:
        """Wrong types and empty local ids are refused; U+0000 is a failure that spoils no other batch."""
        for body in (
            {"messages": []},
            batch(("c", "")),
            {"messages": [{"content": None, "localId": "l"}]},
            {"messages": [{"content": "c"}]},
        ):
            self.assertEqual((await self.request(self.account, "POST", self.path, body)).status, 400)
        bad, good = await gatherResults(
            [
                Deferred.fromCoroutine(self.request(self.account, "POST", self.path, batch((content, "l"))))
                for content in ("\0", "good")
            ]
        )
        self.assertEqual((bad.status, bad.body["error"]), (500, "Internal Server Error"))
        self.assertEqual(good.status, 200)
        self.assertEqual(await self._stored(), [[1, "l", "good"]])
        unknown = await self.request(self.account, "POST", "/v3/sessions/none/messages", batch(("\0", "l")))
        self.assertEqual(unknown.status, 404)

    async def test_socket(self) -> None:
        """Messages of a socket keep their order and are not told to itself; local ids must be texts."""
        sender = mock.Mock(id="sender")
        sayings: list[dict[str, Any]] = [{"message": f"m{n}", "localId": f"l{n}"} for n in range(5)]
        sayings += [{"message": "no id"}, {"message": "odd id", "localId": 5}, sayings[0]]
        await gatherResults(
            [
                Deferred.fromCoroutine(
                    self.emit(self.account, "message", {"sid": self.session, **said}, sender)
                )
                for said in sayings
            ]
        )
        expected = [[n + 1, f"l{n}", f"m{n}"] for n in range(5)]
        self.assertEqual(await self._stored(), [*expected, [6, None, "no id"], [7, None, "odd id"]])
        self.assertEqual([update.skip for update in self.hub.updates], [sender] * 7)
        self.assertEqual([update.body.message.seq for update in self.hub.updates], list(range(1, 8)))

    async def test_socket_ignores(self) -> None:
        """Messages that are no texts, or go to sessions not owned, are dropped (D-4)."""
        stranger = await self.new_account()
        for account, data in (
            (self.account, {"sid": self.session, "message": {"length": 1}}),
            (self.account, {"sid": self.session}),
            (self.account, {"sid": self.session, "message": "\0"}),
            (self.account, {"sid": self.session, "message": "x", "localId": "\0"}),
            (self.account, {"sid": "\0", "message": "x"}),
            (self.account, {"sid": "none", "message": "x"}),
            (stranger, {"sid": self.session, "message": "x"}),
            (self.account, None),
        ):
            await self.emit(account, "message", data)
        self.assertEqual(await self._stored(), [])
        # What cannot be stored is not even tried: it would hold up the messages of others.
        self.assertEqual(self.server.metrics.happy_commit_refused_total._value.get(), 0)


class ReadingTests(CallingCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.account = await self.new_account()
        self.session = await self.open_session(self.account)
        self.path = f"/v3/sessions/{self.session}/messages"

    def _fill(self, count: int) -> None:
        psql(
            self.dsn,
            'INSERT INTO "SessionMessage" ("id", "sessionId", "seq", "content", "updatedAt") '
            "SELECT %s || n, %s, n, %s, now() FROM generate_series(1, %s) AS n",
            (self.session, self.session, '{"t": "encrypted", "c": "x"}', count),
        )

    async def _page(self, query: str) -> tuple[list[int], bool]:
        page = await self.get(self.account, f"{self.path}?{query}")
        return [message["seq"] for message in page["messages"]], page["hasMore"]

    async def test_forwards(self) -> None:
        """Pages forwards begin above the cursor and tell whether there is more."""
        self._fill(5)
        self.assertEqual(await self._page(""), ([1, 2, 3, 4, 5], False))
        self.assertEqual(await self._page("limit=2"), ([1, 2], True))
        self.assertEqual(await self._page("after_seq=2&limit=3"), ([3, 4, 5], False))
        self.assertEqual(await self._page("after_seq="), ([1, 2, 3, 4, 5], False))
        self.assertEqual(await self._page("after_seq=5"), ([], False))

    async def test_backwards(self) -> None:
        """Pages backwards begin below the cursor, newest first."""
        self._fill(5)
        self.assertEqual(await self._page("before_seq=2147483647&limit=2"), ([5, 4], True))
        self.assertEqual(await self._page("before_seq=4"), ([3, 2, 1], False))
        self.assertEqual(await self._page("before_seq=1"), ([], False))

    async def test_beyond_the_storable(self) -> None:
        """Cursors that no number reaches are answered normally (D21)."""
        self._fill(2)
        self.assertEqual(await self._page("after_seq=2147483648"), ([], False))
        self.assertEqual(await self._page("before_seq=9007199254740991"), ([2, 1], False))

    async def test_bad_queries(self) -> None:
        """Both cursors at once, and limits out of range, are refused."""
        answer = await self.request(self.account, "GET", f"{self.path}?after_seq=1&before_seq=2")
        self.assertEqual(answer.status, 400)
        self.assertEqual(
            answer.body["message"], "querystring/ after_seq and before_seq are mutually exclusive"
        )
        for query in ("limit=0", "limit=501", "before_seq=0", "after_seq=-1", "after_seq=x"):
            answer = await self.request(self.account, "GET", f"{self.path}?{query}")
            self.assertEqual(answer.status, 400, query)

    async def test_latest(self) -> None:
        """The first version of the reader shows the newest 150, newest first."""
        self._fill(151)
        answer = await self.get(self.account, f"/v1/sessions/{self.session}/messages")
        self.assertEqual([m["seq"] for m in answer["messages"]], list(range(151, 1, -1)))
        (message,) = answer["messages"][:1]
        self.assertEqual(message["content"], {"t": "encrypted", "c": "x"})
        self.assertIsNone(message["localId"])

    async def test_empty_and_not_owned(self) -> None:
        """A session without messages is empty; one that is not the caller's is not found."""
        stranger = await self.new_account()
        for path in (self.path, f"/v1/sessions/{self.session}/messages"):
            self.assertEqual((await self.get(self.account, path))["messages"], [])
            answer = await self.request(stranger, "GET", path)
            self.assertEqual(answer, (404, {"error": "Session not found"}))

    async def test_waits_for_deliveries(self) -> None:
        """A page that shows a message comes after the message was delivered (D-3)."""
        self._fill(1)
        settling: Deferred[None] = Deferred()
        with mock.patch.object(self.committer, "settled", return_value=settling) as settled:
            answer = Deferred.fromCoroutine(self._page(""))
            await self.database.ping()
            await self.database.ping()
            self.assertFalse(answer.called)
            settled.assert_called_once_with(self.account, self.session)
            settling.callback(None)
            self.assertEqual(await answer, ([1], False))
