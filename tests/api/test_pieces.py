"""Answers of any length: lists and values that are too large to be made at once."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, gatherResults

from happy.api import pieces as writing
from happy.api.answers import Answer, Pieces
from happy.api.pieces import COUNTED, PIECE
from happy.api.pipeline import call_route
from happy.base.bounds import Budget
from happy.base.codecs import encode_base64
from happy.base.errors import ChangedMeanwhile, Overloaded
from happy.settings.config import Config
from happy.storage.large import ROOM, SLICE
from tests.capabilities.calling import CallingCase
from tests.harness import psql

NEW_MACHINE = """
INSERT INTO "Machine" ("id", "accountId", "metadata", "updatedAt") VALUES (%s, %s, %s, now())
"""
NEW_ITEM = """
INSERT INTO "UserFeedItem" ("id", "userId", "counter", "body", "updatedAt")
VALUES (%s, %s, %s, jsonb_build_object('kind', 'text', 'text', %s::text), now())
"""

CONTENT = "\"'\\/\x01\x7f é€😀" * 20_000
"""Some 400 kB, with all that JSON has to say differently."""


class PiecesCase(CallingCase):
    """An account, and a way to see an answer before it is read."""

    async def setUp(self) -> None:
        await super().setUp()
        self.account = await self.new_account()

    async def answered(self, method: str, target: str, body: Any = None) -> Answer:
        """The answer as the pipeline gives it."""
        found: list[Answer] = []

        async def note(*arguments: Any) -> Answer:
            found.append(await call_route(*arguments))
            return Answer()

        with mock.patch("tests.capabilities.asking.call_route", note):
            await self.ask(method, target, body, account=self.account)
        return found[0]

    async def streamed(self, method: str, target: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of an answer that is not made at once."""
        answer = await self.answered(method, target, body)
        self.assertNotIsInstance(answer.content, bytes)
        whole = await self.taken_apart(answer)
        return whole.status, whole.json

    async def opened(self, target: str) -> Pieces:
        """The pieces of an answer that has some."""
        content = (await self.answered("GET", target)).content
        assert not isinstance(content, bytes)
        return content  # type: ignore[return-value]

    async def sessions(self, count: int, metadata: str = CONTENT) -> list[str]:
        """The ids of new sessions, the newest first."""
        ids = []
        for number in range(count):
            body = {"tag": f"{number}", "metadata": metadata}
            ids.append((await self.post(self.account, "/v1/sessions", body))["session"]["id"])
        return ids[::-1]


class ListTests(PiecesCase):
    """Every list says the same in pieces as it would at once."""

    async def assert_same(self, target: str, body: Any = None, method: str = "GET") -> Any:
        """An answer in pieces is what it is when there is room for all of it."""
        status, pieces = await self.streamed(method, target, body)
        with mock.patch("happy.storage.large.ROOM", 2**30):
            answer = await self.answered(method, target, body)
        assert isinstance(answer.content, bytes)
        self.assertEqual((status, pieces), (answer.status, json.loads(answer.content)))
        return pieces

    async def test_sessions(self) -> None:
        """The three lists of sessions, cursors included."""
        ids = await self.sessions(6)
        page = await self.assert_same("/v2/sessions?limit=4")
        self.assertEqual([session["id"] for session in page["sessions"]], ids[:4])
        self.assertEqual((page["hasNext"], page["nextCursor"]), (True, f"cursor_v1_{ids[3]}"))
        await self.assert_same("/v1/sessions")
        await self.assert_same("/v2/sessions/active")

    async def test_messages(self) -> None:
        """Messages in either direction; what they hold comes as it is stored."""
        session = await self.open_session(self.account)
        for number in range(5):
            batch = [{"content": CONTENT, "localId": f"{number}"}]
            await self.post(self.account, f"/v3/sessions/{session}/messages", {"messages": batch})
        page = await self.assert_same(f"/v3/sessions/{session}/messages?limit=4")
        self.assertEqual([message["seq"] for message in page["messages"]], [1, 2, 3, 4])
        self.assertEqual(page["messages"][0]["content"], {"c": CONTENT, "t": "encrypted"})
        self.assertTrue(page["hasMore"])
        await self.assert_same(f"/v3/sessions/{session}/messages?before_seq=9")
        await self.assert_same(f"/v1/sessions/{session}/messages")

    async def test_machines(self) -> None:
        """Machines, whose list is a bare array."""
        for number in range(4):
            psql(self.dsn, NEW_MACHINE, (f"{self.account}-{number}", self.account, CONTENT))
        self.assertEqual(len(await self.assert_same("/v1/machines")), 4)

    async def test_artifacts(self) -> None:
        """Artifacts, without their bodies."""
        for number in range(3):
            parts = {name: encode_base64(os.urandom(400_000)) for name in ("header", "body")}
            name = f"00000000-0000-4000-8000-{number:03}{self.account[-9:].encode().hex()[:9]}"
            await self.post(self.account, "/v1/artifacts", {"id": name, "dataEncryptionKey": "", **parts})
        self.assertEqual(len(await self.assert_same("/v1/artifacts")), 3)

    async def test_entries(self) -> None:
        """Entries of the key-value store, by prefix and by name."""
        for key in ("a1", "a2", "a3", "b"):
            mutation = {"key": key, "value": encode_base64(os.urandom(500_000)), "version": -1}
            await self.post(self.account, "/v1/kv", {"mutations": [mutation]})
        items = (await self.assert_same("/v1/kv?prefix=a"))["items"]
        self.assertEqual([item["key"] for item in items], ["a1", "a2", "a3"])
        values = await self.assert_same("/v1/kv/bulk", {"keys": ["b", "none", "a2", "a3"]}, "POST")
        self.assertEqual([value["key"] for value in values["values"]], ["a2", "a3", "b"])

    async def test_feed(self) -> None:
        """Items of the feed."""
        for number in range(4):
            psql(self.dsn, NEW_ITEM, (f"{self.account}-{number}", self.account, number, CONTENT))
        page = await self.assert_same("/v1/feed?limit=3")
        self.assertEqual((len(page["items"]), page["hasMore"]), (3, True))

    async def test_small_lists(self) -> None:
        """A list that has room is answered at once."""
        await self.sessions(2, "m" * 400_000)
        answer = await self.answered("GET", "/v1/sessions")
        self.assertIsInstance(answer.content, bytes)
        self.assertEqual(answer.account, self.account)


class LargeValueTests(PiecesCase):
    """Values that are too large by themselves, wherever they appear."""

    async def test_text(self) -> None:
        """Texts that no piece has room for, among others."""
        texts = ["s", CONTENT * 4, "t", "x" * (ROOM + 1)]
        for tag, text in enumerate(texts):
            await self.post(self.account, "/v1/sessions", {"tag": f"{tag}", "metadata": text})
        listed = (await self.streamed("GET", "/v1/sessions"))[1]["sessions"]
        self.assertEqual([session["metadata"] for session in listed], texts[::-1])

    async def test_reopened_session(self) -> None:
        """What a request that writes finds stored."""
        await self.sessions(1, CONTENT * 4)
        status, answer = await self.streamed("POST", "/v1/sessions", {"tag": "0", "metadata": "x"})
        self.assertEqual((status, answer["session"]["metadata"]), (200, CONTENT * 4))

    async def test_settings(self) -> None:
        """The account's settings, asked for and in the way of others."""
        change = {"settings": CONTENT * 4, "expectedVersion": 0}
        await self.post(self.account, "/v1/account/settings", change)
        expected = {"settings": CONTENT * 4, "settingsVersion": 1}
        self.assertEqual(await self.streamed("GET", "/v1/account/settings"), (200, expected))
        status, answer = await self.streamed("POST", "/v1/account/settings", change)
        self.assertEqual((status, answer["currentSettings"]), (200, CONTENT * 4))

    async def test_artifact(self) -> None:
        """Bytes, asked for and in the way of others; one part of a slice and one longer by a byte."""
        parts = {"header": encode_base64(os.urandom(SLICE)), "body": encode_base64(os.urandom(SLICE + 1))}
        name = f"00000000-0000-4000-8000-{self.account[-6:].encode().hex()}"
        created = {"id": name, "dataEncryptionKey": encode_base64(b"k"), **parts}
        await self.post(self.account, "/v1/artifacts", created)
        _, found = await self.streamed("GET", f"/v1/artifacts/{name}")
        self.assertEqual({name: found[name] for name in created}, created)
        change = {"body": "AAAA", "expectedBodyVersion": 9, "header": "AAAA", "expectedHeaderVersion": 1}
        _, stale = await self.streamed("POST", f"/v1/artifacts/{name}", change)
        self.assertEqual((stale["currentBody"], stale["currentBodyVersion"]), (parts["body"], 1))
        self.assertNotIn("currentHeader", stale)

    async def test_conflicts(self) -> None:
        """What speaks against a batch, in its order, though it is raised as a refusal."""
        value = encode_base64(os.urandom(700_000))
        for key in ("a", "b"):
            await self.post(
                self.account, "/v1/kv", {"mutations": [{"key": key, "value": value, "version": -1}]}
            )
        mutations = [{"key": key, "value": None, "version": 5} for key in ("b", "none", "a")]
        status, answer = await self.streamed("POST", "/v1/kv", {"mutations": mutations})
        self.assertEqual(status, 409)
        found = [(error["key"], error["version"], error["value"]) for error in answer["errors"]]
        self.assertEqual(found, [("b", 0, value), ("none", -1, None), ("a", 0, value)])

    async def test_sockets(self) -> None:
        """An acknowledgement has no pieces: a large value is in it as a whole."""
        [session] = await self.sessions(1, CONTENT * 4)
        change = {"sid": session, "metadata": "m", "expectedVersion": 7}
        answer = await self.emit(self.account, "update-metadata", change)
        self.assertEqual(answer, {"result": "version-mismatch", "version": 0, "metadata": CONTENT * 4})
        self.assertEqual(self.server.memory.used, 0)

    async def test_large_artifacts_on_sockets(self) -> None:
        """The parts of an artifact are whole in whatever acknowledges them."""
        parts = {
            "header": "AAAA",
            "body": encode_base64(os.urandom(3 * SLICE + 1)),
            "dataEncryptionKey": "AA==",
        }
        identity = str(uuid.uuid4())
        created = await self.emit(self.account, "artifact-create", {"id": identity, **parts})
        again = await self.emit(self.account, "artifact-create", {"id": identity, **parts})
        read = await self.emit(self.account, "artifact-read", {"artifactId": identity})
        self.assertEqual((again, read), (created, created))
        self.assertEqual(read["artifact"]["body"], parts["body"])
        change = {"artifactId": identity, "body": {"data": "AAAA", "expectedVersion": 5}}
        stale = await self.emit(self.account, "artifact-update", change)
        self.assertEqual(stale["body"]["currentData"], parts["body"])

    async def test_too_large_for_sockets(self) -> None:
        """What is larger than may wait for a client, or has no room, fails as declared; nothing is logged."""
        [session] = await self.sessions(1, CONTENT * 4)
        change = {"sid": session, "metadata": "m", "expectedVersion": 7}
        self.change(memory=Budget(ROOM))
        self.assertEqual(await self.emit(self.account, "update-metadata", change), {"result": "error"})
        self.change(memory=Budget(2**30), config=Config(max_queued=ROOM))
        self.assertEqual(await self.emit(self.account, "update-metadata", change), {"result": "error"})
        self.assertEqual(self.flushLoggedErrors(), [])


class MeanwhileTests(PiecesCase):
    """What happens while a list is sent."""

    async def rest(self, pieces: Pieces, meddle: Callable[[], Any], after: int = 2) -> Any:
        """The JSON of an answer during which something happens after so many pieces."""
        text, number = b"", 0
        async for piece in self.pieces(pieces):
            number += 1
            text += piece
            if number == after:
                meddle()
        return json.loads(text)

    async def test_changes(self) -> None:
        """Rows appear as they are then, and deleted ones do not, were they the last."""
        first, second, third, last = await self.sessions(4)
        pieces = await self.opened("/v2/sessions")

        def meddle() -> None:
            psql(self.dsn, """UPDATE "Session" SET "metadata" = 'new' WHERE "id" = %s""", (second,))
            for gone in (third, last):
                psql(self.dsn, 'DELETE FROM "Session" WHERE "id" = %s', (gone,))

        listed = (await self.rest(pieces, meddle))["sessions"]
        found = [(session["id"], session["metadata"]) for session in listed]
        self.assertEqual(found, [(first, CONTENT), (second, "new")])

    async def test_growth(self) -> None:
        """Rows that have grown are read fewer at a time."""
        ids = await self.sessions(30, "m" * 40_000)
        pieces = await self.opened("/v2/sessions")

        def meddle() -> None:
            psql(self.dsn, """UPDATE "Session" SET "metadata" = repeat('n', 1100000)""")

        listed = (await self.rest(pieces, meddle))["sessions"]
        self.assertEqual([session["id"] for session in listed], ids)
        sizes = [len(session["metadata"]) for session in listed]
        self.assertEqual(sizes, sorted(sizes))
        self.assertEqual(set(sizes), {40_000, 1_100_000})

    async def test_changed_value(self) -> None:
        """A value that changes while it is sent breaks the answer off."""
        [session] = await self.sessions(1, "m" * (3 * SLICE))
        pieces = await self.opened("/v2/sessions")
        statement = 'UPDATE "Session" SET "metadataVersion" = 1 WHERE "id" = %s'
        with self.assertRaises(ChangedMeanwhile):
            await self.rest(pieces, lambda: psql(self.dsn, statement, (session,)), after=3)

    async def test_deliveries(self) -> None:
        """No piece comes before what it may reveal was delivered (D-3)."""
        await self.sessions(4)
        settling: Deferred[None] = Deferred()
        with mock.patch.object(self.committer, "settled", return_value=settling):
            reading = self.pieces(await self.opened("/v2/sessions"))
            await anext(reading)
            second = Deferred.fromCoroutine(anext(reading))  # type: ignore[arg-type]
            await self.database.ping()
            await self.database.ping()
            self.assertFalse(second.called)
            settling.callback(None)
            self.assertIn(b"metadata", await second)
        await reading.aclose()

    async def test_no_connection_is_kept(self) -> None:
        """Between two pieces all connections are free."""
        await self.sessions(4)
        async for _ in self.pieces(await self.opened("/v2/sessions")):
            self.assertEqual(self.database.pool.busy, 0)


class RoomTests(PiecesCase):
    """Who pays, and what happens when there is no room."""

    def bound(self, size: int) -> Budget:
        """A small budget for the server."""
        memory = Budget(size, share=size)
        self.change(memory=memory)
        return memory

    async def test_pieces_are_small(self) -> None:
        """Rows are read some at a time, and a value in slices."""
        await self.sessions(60, "m" * 20_000)
        async for piece in self.pieces(await self.opened("/v2/sessions?limit=200")):
            self.assertLess(len(piece), PIECE * 2)
        await self.sessions(1, "m" * (5 * ROOM))
        async for piece in self.pieces(await self.opened("/v1/sessions")):
            self.assertLess(len(piece), ROOM)

    async def test_one_at_a_time(self) -> None:
        """An account reads one piece at a time; who waits for its turn has nothing meanwhile."""
        await self.sessions(4)
        first, second = await self.opened("/v2/sessions"), await self.opened("/v1/sessions")
        readings = [self.pieces(pieces) for pieces in (first, second)]
        for reading in readings:
            for _ in range(2):
                await anext(reading)
        release = await self.database.linearizer.acquire([f"large {self.account}"])
        waiting = [Deferred.fromCoroutine(anext(reading)) for reading in readings]  # type: ignore[arg-type]
        await self.database.ping()
        self.assertEqual((self.server.memory.used, self.database.pool.busy), (0, 0))
        kept = first._pieces.ag_frame.f_locals.values()  # type: ignore[attr-defined]
        self.assertEqual([value for value in kept if isinstance(value, bytes) and len(value) > 100], [])
        release()
        for text in await gatherResults(waiting):
            self.assertIn(b"metadata", text)
        for reading in readings:
            await reading.aclose()

    async def test_waiting_has_an_end(self) -> None:
        """Who waits for an answer of its own that is not taken is told that there is no more."""
        self.patch(writing, "TURN_SECONDS", 0)
        await self.sessions(4)
        reading = self.pieces(await self.opened("/v2/sessions"))
        await anext(reading)
        release = await self.database.linearizer.acquire([f"large {self.account}"])
        with self.assertRaises(Overloaded):
            await anext(reading)
        release()

    async def test_no_room(self) -> None:
        """A piece that there is no room for is not read."""
        await self.sessions(4)
        memory = self.bound(PIECE // 2)
        pieces = await self.opened("/v2/sessions")
        with self.assertRaises(Overloaded):
            await self.taken_apart(Answer(content=pieces))
        self.assertEqual(memory.used, 0)

    async def test_rows_that_wait(self) -> None:
        """Rows that wait for deliveries are counted; one who may not keep them is refused."""
        await self.sessions(2, "m" * COUNTED)
        memory = self.bound(3 * COUNTED)
        settling: Deferred[None] = Deferred()
        with mock.patch.object(self.committer, "settled", return_value=settling):
            waiting = Deferred.fromCoroutine(self.request(self.account, "GET", "/v1/sessions"))
            while not memory.used:
                await self.database.ping()
            self.assertEqual(memory.used, 2 * COUNTED)
            refused = await self.request(self.account, "GET", "/v1/sessions")
            self.assertEqual(refused.status, 503)
            settling.callback(None)
            self.assertEqual((await waiting).status, 200)
        self.assertEqual(memory.used, 0)
