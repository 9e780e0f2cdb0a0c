"""Many writers, bad ones among them, and a database that dies twice: nothing acknowledged is ever lost.

The promises (decisions 4, realtime.md D-1 to D-3): what was answered is stored, once; the numbers of a
session and of an account have no gaps; on every socket the account's numbers only rise.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Coroutine, Iterable
from itertools import count
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, gatherResults
from twisted.internet.error import ConnectingCancelledError
from twisted.web.client import ResponseFailed

from happy.base.errors import ConnectionLost
from happy.bench import proc
from happy.client import Account, Answer, Scope, Session, Socket
from happy.postgres.orphans import recorded_pid
from happy.storage import writer as storage
from tests.live.case import LiveCase

ROUNDS = 20
ACKNOWLEDGED_BEFORE_A_KILL = 100
KILLS = 2
SHARED = 20
"""Local ids that all writers of a session use."""

POISON = "poison"
NUMBERS = 'SELECT "seq" FROM "Account" WHERE "id" = %s'

Message = dict[str, str]


def path(session: str) -> str:
    """Where the messages of a session are."""
    return f"/v3/sessions/{session}/messages"


class Ledger:
    """What the server answered for, and what senders that stayed connected gave it without an answer."""

    def __init__(self) -> None:
        self.acknowledged: dict[tuple[str, str], tuple[str, int]] = {}
        self.said: dict[str, set[str]] = {}
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def acknowledge(self, session: str, receipts: Iterable[dict[str, Any]]) -> None:
        """Note receipts; a message that is acknowledged again must be the same one."""
        for receipt in receipts:
            key, stored = (session, receipt["localId"]), (receipt["id"], receipt["seq"])
            assert self.acknowledged.setdefault(key, stored) == stored
        due = [waiting for waiting in self._waiting if waiting[0] <= len(self.acknowledged)]
        for waiting in due:
            self._waiting.remove(waiting)
            waiting[1].callback(None)

    def reaches(self, count: int) -> Deferred[None]:
        """Fires when so many messages were acknowledged."""
        reached: Deferred[None] = Deferred()
        if len(self.acknowledged) >= count:
            reached.callback(None)
        else:
            self._waiting.append((count, reached))
        return reached

    def say(self, session: str, content: str) -> None:
        """Note a message that a socket sent."""
        self.said.setdefault(session, set()).add(content)


class Hearing:
    """Everything that one socket hears, in order."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.updates: list[dict[str, Any]] = []
        socket.on_update(self.updates.append)

    @property
    def seqs(self) -> list[int]:
        """The account's numbers."""
        return [update["seq"] for update in self.updates]

    def messages(self, session: str) -> list[dict[str, Any]]:
        """The messages of a session."""
        bodies = [update["body"] for update in self.updates]
        return [body["message"] for body in bodies if body["t"] == "new-message" and body["sid"] == session]


class WritersTests(LiveCase):
    """One server with a durable PostgreSQL of its own."""

    embedded = True
    timeout = 90
    appends = staticmethod(storage.append)
    killed: Deferred[None] | None = None
    """Fires when the database was killed; None while it is not to be."""

    async def test_nothing_is_lost(self) -> None:
        """After two deaths of the database all promises hold, for every socket and every message."""
        self.dice = random.Random(1)
        self.ledger = Ledger()
        ann, bob, eve = [await self.new_phone() for _ in range(3)]
        one, two = [await ann.create_session(tag, {}) for tag in ("one", "two")]
        three, four = await bob.create_session("three", {}), await eve.create_session("four", {})
        hers, his = ((ann, one), (ann, two)), ((bob, three),)
        everybody = (ann, bob, eve)
        start = {account.id: await self.number(account) for account in everybody}
        watchers = {account.id: [await self.hear(account) for _ in range(2)] for account in everybody}
        rooms = {each.id: await self.hear(owner, Scope.session(each.id)) for owner, each in hers + his}

        writers = [self.changes(ann, one), self.changes(bob, three), self.eve(eve, (one, two, three))]
        writers += [self.drops(ann, one), self.poisons(ann, one), self.poisons(bob, three)]
        for owner, each in (*hers, *his):
            writers += [self.posts(owner, each, f"post{n}") for n in range(2)]
            writers += [self.says(owner, each, f"say{n}") for n in range(2)]
        self.patch(storage, "append", self.loses_answers)
        killing = Deferred.fromCoroutine(self.kills(*hers, *his, (eve, four)))
        await gatherResults([Deferred.fromCoroutine(writer) for writer in writers], consumeErrors=True)
        await killing

        for owner, each in (*hers, *his):
            await self.check(owner, each, [*watchers[owner.id], rooms[each.id]])
        await self.told(eve, four, *watchers[eve.id])
        for owner in everybody:
            for hearing in watchers[owner.id]:
                last = await self.number(owner)
                assert hearing.seqs == list(range(start[owner.id] + 1, last + 1))
        for hearing in rooms.values():
            assert hearing.seqs == sorted(set(hearing.seqs))
        ended = [text for text in self.complaints if not text.startswith("The database is lost: ")]
        assert len(ended) == KILLS
        assert all("PostgreSQL ended unexpectedly" in text for text in ended)

    async def kills(self, *owned: tuple[Account, Session]) -> None:
        """Kill the database whenever so many more were acknowledged, and write until it dies."""
        for kill in range(KILLS):
            await self.ledger.reaches(ACKNOWLEDGED_BEFORE_A_KILL * (kill + 1))
            self.killed = killed = Deferred[None]()
            for n in count():
                together = [self.message(f"together-{kill}-{n}")]
                posts = [self.post(account, session.id, together) for account, session in owned]
                answers = await gatherResults([Deferred.fromCoroutine(post) for post in posts])
                for (_, session), answer in zip(owned, answers, strict=True):
                    self.ledger.acknowledge(session.id, answer.json()["messages"])
                if killed.called:
                    break

    async def loses_answers(self, tx: Any, writer: str, batch: int, rows: Any, **named: Any) -> Any:
        """Append, but let the database die before the answer to a batch of several accounts is there."""
        stored = await self.appends(tx, writer, batch, rows, **named)
        if self.killed is None or len({rows[row.row - 1].account for row in stored if row.new}) < 2:
            return stored
        killed, self.killed = self.killed, None
        postmaster = recorded_pid(self.folder / "postgres")
        assert postmaster is not None
        for pid in (postmaster, *proc.children(postmaster, proc.parents())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed.callback(None)
        raise ConnectionLost(None)

    async def number(self, account: Account) -> int:
        """The number of the account's last update, from the database."""
        row = await self.running.server.database.read(lambda tx: tx.row(NUMBERS, (account.id,)))
        assert row is not None
        return int(row[0])

    async def hear(self, account: Account, scope: Scope | None = None) -> Hearing:
        return Hearing(await self.connect(account, scope, keep=1))

    # Writers

    async def posts(self, account: Account, session: Session, name: str) -> None:
        """Batches over HTTP, some of them cut off and sent again, some with local ids of other writers."""
        for n in range(ROUNDS):
            batch = [self.message(f"{name}-{n}-{part}") for part in range(self.dice.randint(1, 3))]
            batch.append(self.message(f"shared-{self.dice.randrange(SHARED)}", f"{name}-{n}"))
            if n % 5 == 0:
                await self.cut_off(account.request("POST", path(session.id), {"messages": batch}))
            answer = await self.post(account, session.id, batch)
            assert answer.status == 200, answer.text
            receipts = answer.json()["messages"]
            assert Counter(r["localId"] for r in receipts) == Counter(m["localId"] for m in batch)
            self.ledger.acknowledge(session.id, receipts)

    async def says(self, account: Account, session: Session, name: str) -> None:
        """Messages over a socket that stays connected."""
        hearing = await self.hear(account, Scope.session(session.id))
        own = set()
        for n in range(ROUNDS):
            for part in range(self.dice.randint(1, 3)):
                content = f"{name}-{n}-{part}"
                local = {"localId": content} if self.dice.random() < 0.8 else {}
                hearing.socket.emit("message", {"sid": session.id, "message": content, **local})
                self.ledger.say(session.id, content)
                own.add(content)
            shared = self.message(f"shared-{self.dice.randrange(SHARED)}", f"{name}-{n}")
            said = {"message": shared["content"], "localId": shared["localId"]}
            hearing.socket.emit("message", {"sid": session.id, **said})
            own.add(shared["content"])
            await hearing.socket.call("ping")
        await self.told(account, session, hearing)
        assert hearing.seqs == sorted(set(hearing.seqs))
        heard = [message["content"]["c"] for message in hearing.messages(session.id)]
        assert own.isdisjoint(heard)

    async def drops(self, account: Account, session: Session) -> None:
        """Messages over sockets that are cut right after."""
        for n in range(ROUNDS):
            socket = await self.connect(account, Scope.session(session.id), keep=1)
            content = f"dropped-{n}"
            socket.emit("message", {"sid": session.id, "message": content, "localId": content})
            socket.abort()
            await socket.closed()

    async def poisons(self, account: Account, session: Session) -> None:
        """What the database cannot hold, over both ways, beside everybody else's messages."""
        socket = await self.connect(account, keep=1)
        for n in range(ROUNDS // 3):
            endless = "".join(self.dice.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9000))
            bad = self.dice.choice(
                [self.message(endless, POISON), self.message(f"p{n}\0", POISON), self.message(f"p{n}", "\0")]
            )
            answer = await self.post(account, session.id, [self.message(f"beside-{n}", POISON), bad])
            assert answer.status == 500
            for local in (endless, "\0", {"not": "text"} if n == 0 else "\0"):
                said = POISON if isinstance(local, str) else "a local id that is no text does not count"
                socket.emit("message", {"sid": session.id, "message": said, "localId": local})
            socket.emit("message", {"sid": session.id, "message": f"{POISON}\0"})
            socket.emit("message", {"sid": session.id, "message": {"text": POISON}})
            await socket.call("ping")

    async def eve(self, account: Account, sessions: Iterable[Session]) -> None:
        """Messages to sessions that are someone else's, or nobody's."""
        socket = await self.connect(account, keep=1)
        for n in range(ROUNDS // 3):
            for session in (*[each.id for each in sessions], "nowhere"):
                batch = [self.message(f"eve-{n}", POISON)]
                answer = await self.post(account, session, batch)
                assert answer.status == 404
                socket.emit("message", {"sid": session, "message": POISON, "localId": f"eve-{n}"})
            await socket.call("ping")

    async def changes(self, account: Account, session: Session) -> None:
        """Everything else that takes numbers: values, settings, machines, metadata."""
        socket = await self.connect(account, keep=1)
        version = -1
        for n in range(ROUNDS):
            put = {"key": "counter", "value": "MQ==", "version": version}
            assert (await account.call("POST", "/v1/kv", {"mutations": [put]}))["success"] is True
            version += 1
            settings = {"settings": f"{n}", "expectedVersion": n}
            assert (await account.call("POST", "/v1/account/settings", settings))["success"] is True
            await account.call("POST", "/v1/machines", {"id": f"{account.id}-{n}", "metadata": "m"})
            update = {"sid": session.id, "metadata": f"m{n}", "expectedVersion": n}
            assert (await socket.call("update-metadata", update))["version"] == n + 1
        assert (await account.call("GET", "/v1/kv/counter"))["version"] == version
        assert (await account.call("GET", "/v1/account/settings"))["settingsVersion"] == ROUNDS

    # What writers are made of

    def message(self, local_id: str, content: str | None = None) -> Message:
        return {"localId": local_id, "content": content or local_id}

    async def post(self, account: Account, session: str, batch: list[Message]) -> Answer:
        """The answer of a server that is able to answer; until then ask again, as the real clients do."""
        while True:
            try:
                answer = await account.request("POST", path(session), {"messages": batch})
            except (ResponseFailed, TimeoutError):
                continue
            if answer.status != 503:
                return answer

    async def cut_off(self, asking: Coroutine[Any, Any, Answer]) -> None:
        """Send a request and hang up."""
        from twisted.internet import reactor

        running = Deferred.fromCoroutine(asking)
        reactor.callLater(self.dice.random() / 50, running.cancel)  # type: ignore[attr-defined]
        with contextlib.suppress(CancelledError, ConnectingCancelledError, ResponseFailed):
            await running

    async def told(self, account: Account, session: Session, *hearings: Hearing) -> None:
        """Wait until sockets have heard all there is: a last message comes after everything before it."""
        answer = await self.post(account, session.id, [self.message(f"last-{self.dice.random()}")])
        (receipt,) = answer.json()["messages"]
        self.ledger.acknowledge(session.id, [receipt])
        for hearing in hearings:
            if receipt["id"] not in [message["id"] for message in hearing.messages(session.id)]:
                await hearing.socket.next_update(
                    lambda update: update["body"].get("message", {}).get("id") == receipt["id"]
                )

    # Promises

    async def check(self, account: Account, session: Session, hearings: list[Hearing]) -> None:
        """The promises for one session, and for the sockets that heard all of it."""
        await self.told(account, session, *hearings)
        stored = await self.stored(account, session)
        assert [message["seq"] for message in stored] == list(range(1, len(stored) + 1))
        by_local = {message["localId"]: message for message in stored if message["localId"] is not None}
        assert len(by_local) == sum(message["localId"] is not None for message in stored)
        for (sid, local_id), (id, seq) in self.ledger.acknowledged.items():
            if sid == session.id:
                assert (by_local[local_id]["id"], by_local[local_id]["seq"]) == (id, seq)
        contents = Counter(message["content"]["c"] for message in stored)
        assert self.ledger.said[session.id] <= contents.keys()
        assert all(contents[content] == 1 for content in self.ledger.said[session.id])
        assert not any(POISON in content for content in contents)
        for hearing in hearings:
            heard = [(message["id"], message["seq"]) for message in hearing.messages(session.id)]
            assert heard == [(message["id"], message["seq"]) for message in stored]

    async def stored(self, account: Account, session: Session) -> list[dict[str, Any]]:
        """Every message of a session, oldest first."""
        found: list[dict[str, Any]] = []
        while True:
            after = found[-1]["seq"] if found else 0
            page = await account.call("GET", path(session.id), params={"after_seq": after, "limit": 500})
            found += page["messages"]
            if not page["hasMore"]:
                return found
