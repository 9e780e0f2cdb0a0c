"""Clients of a ring, and what they find wrong.

Every account has watchers that roam between the nodes, writers that say the same thing again until they have
an answer, a daemon that offers a method, and callers. What is counted here must be zero in the end.
"""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from happy.client import Account, AccountKeys, Page, RemoteServer, RpcFailed, Session, Socket, sign_in

FAULTS = (
    *("lost", "stored twice", "missed", "repeated", "out of order", "falsely recovered", "behind at the end"),
    *("executed twice", "ok without execution", "wrong answer", "answer ahead"),
)


class Tally:
    """What happened, and what was wrong."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.examples: list[str] = []

    def blame(self, fault: str, detail: str) -> None:
        """Something is wrong."""
        assert fault in FAULTS
        self.wrong[fault] += 1
        self.examples = [*self.examples, f"{fault}: {detail}"][:20]


class Ring:
    """The nodes as clients reach them, and whether the load goes on."""

    def __init__(self, reactor: Any, urls: list[str], rng: random.Random) -> None:
        self.reactor = reactor
        self.rng = rng
        self.tally = Tally()
        self.servers = [RemoteServer(url, reactor, timeout=12, connections=8) for url in urls]
        self.writing = self.watching = True

    def server(self) -> RemoteServer:
        """Any node."""
        return self.rng.choice(self.servers)

    async def pause(self, seconds: float) -> None:
        """Wait about so long."""
        await deferLater(self.reactor, seconds * self.rng.uniform(0.5, 1.5))

    async def turn(self) -> None:
        """Let the reactor take a turn, and look at all connections in it."""
        for _ in range(2):
            await deferLater(self.reactor, 0)

    async def anywhere(self, act: Callable[[RemoteServer], Coroutine[Any, Any, Any]]) -> Any:
        """Try at one node after the other, until it works."""
        while True:
            try:
                return await act(self.server())
            except Exception:
                self.tally.counts["requests repeated"] += 1
                await self.pause(0.2)


class Numbers:
    """The numbers of an account that a client hears, over all sockets that it had, one after the other."""

    def __init__(self, tally: Tally, name: str) -> None:
        self._tally = tally
        self._name = name
        self._recovered = False
        self.first: int | None = None
        self.last: int | None = None

    def begin(self, socket: Socket) -> None:
        """There is another socket: what comes next is known only if it goes on with the former."""
        self._recovered = socket.recovered
        if not self._recovered:
            self.last = None

    def hear(self, update: Any) -> None:
        """One more; what is wrong with it is blamed."""
        seq, last = update["seq"], self.last
        self.last = seq
        self.first = seq if self.first is None else self.first
        self._tally.counts["deliveries"] += 1
        if last is None or seq == last + 1:
            return
        name = f"{self._name} heard {seq} after {last}"
        if self._recovered and seq > last:
            self._tally.blame("falsely recovered", name)
        elif seq == last:
            self._tally.blame("repeated", name)
        else:
            self._tally.blame("missed" if seq > last else "out of order", name)


class Watcher:
    """A user-scoped client that comes back, somewhere, when it is lost; after ``stays`` seconds it leaves."""

    def __init__(self, ring: Ring, account: Account, stays: tuple[float, float] = (3, 40)) -> None:
        self._ring = ring
        self._stays = stays
        self.account = account
        self.numbers = Numbers(ring.tally, account.token[-6:])
        self.socket: Socket | None = None

    async def run(self) -> None:
        """Watch until the ring says that it is over."""
        ring = self._ring
        former: Socket | None = None
        server: RemoteServer | None = None
        while ring.watching:
            last, server = server, ring.server()
            at = Account(server, self.account.token, self.account.keys)
            try:
                socket = await at.open_socket(after=former, timeout=5, keep=10_000)
            except Exception:
                ring.tally.counts["connects failed"] += 1
                await ring.pause(0.2)
                continue
            where = "here" if server is last else "elsewhere"
            ring.tally.counts["recovered " + where if socket.recovered else "connected anew"] += 1
            self.numbers.begin(socket)
            for update in socket.untaken("update"):
                self.numbers.hear(update)
            socket.on_update(self.numbers.hear)
            self.socket = socket
            roaming = ring.reactor.callLater(ring.rng.uniform(*self._stays), socket.abort)
            await socket.closed()
            if roaming.active():
                roaming.cancel()
            former = socket
            await ring.pause(0.05)


class Writers:
    """Messages and sessions of one account, from any node."""

    def __init__(self, ring: Ring, account: Account, session: Session) -> None:
        self._ring = ring
        self._account = account
        self.session = session
        self.acknowledged: set[str] = set()

    def _at(self, server: RemoteServer) -> Account:
        return Account(server, self._account.token, self._account.keys)

    async def run(self) -> None:
        """Write until the ring says that it is over."""
        ring = self._ring
        while ring.writing:
            if ring.rng.random() < 0.8:
                await self._send()
            else:
                opens = partial(self._open, str(uuid.uuid4()))
                await ring.anywhere(opens)
            ring.tally.counts["acknowledged"] += 1
            await ring.pause(0.05)

    async def _open(self, tag: str, server: RemoteServer) -> None:
        await self._at(server).create_session(tag, {})

    async def _read(self, after: int, server: RemoteServer) -> Page:
        return await self._at(server).messages(self.session, after=after, limit=50)

    async def _send(self) -> None:
        local_ids = [str(uuid.uuid4()) for _ in range(self._ring.rng.choice((1, 1, 3)))]
        size = 300_000 if self._ring.rng.random() < 0.02 else self._ring.rng.choice((50, 5_000))
        values = ["x" * size] + [""] * (len(local_ids) - 1)

        async def send(server: RemoteServer) -> None:
            await self._at(server).send_messages(self.session, values, local_ids)

        await self._ring.anywhere(send)
        self.acknowledged.update(local_ids)

    async def check(self, acknowledged: set[str]) -> None:
        """Whether everything that was acknowledged is in the session, once."""
        stored: Counter[str | None] = Counter()
        after = 0
        while True:
            page: Page = await self._ring.anywhere(partial(self._read, after))
            stored.update(message.record.local_id for message in page.messages)
            if not page.messages:
                break
            after = page.messages[-1].seq
        for local_id in acknowledged:
            if stored[local_id] != 1:
                self._ring.tally.blame("stored twice" if stored[local_id] else "lost", local_id)


class Daemon:
    """Offers a method, which notes what it is called with, and comes back somewhere when it is lost."""

    METHOD = "ring:echo"

    def __init__(self, ring: Ring, account: Account) -> None:
        self._ring = ring
        self._account = account
        self.executed: Counter[str] = Counter()

    async def run(self) -> None:
        """Offer it until the ring says that it is over."""
        ring = self._ring
        while ring.watching:
            at = Account(ring.server(), self._account.token, self._account.keys)
            try:
                socket = await at.open_socket(timeout=5)
                await socket.register(self.METHOD, self._execute, timeout=5)
            except Exception:
                await ring.pause(0.2)
                continue
            roaming = ring.reactor.callLater(ring.rng.uniform(3, 40), socket.abort)
            await socket.closed()
            if roaming.active():
                roaming.cancel()
            await ring.pause(0.2)

    async def _execute(self, params: Any) -> Any:
        self.executed[params] += 1
        if self.executed[params] > 1:
            self._ring.tally.blame("executed twice", params)
        await self._ring.pause(self._ring.rng.choice((0.0, 0.0, 1.0)))
        return f"did {params}"

    async def call(self) -> None:
        """Call it from anywhere, again and again."""
        ring = self._ring
        while ring.writing:
            at = Account(ring.server(), self._account.token, self._account.keys)
            try:
                socket = await at.open_socket(timeout=5)
            except Exception:
                await ring.pause(0.2)
                continue
            for _ in range(20):
                if not ring.writing or not socket.connected:
                    break
                await self._call_once(socket)
                await ring.pause(0.1)
            await socket.close()

    async def _call_once(self, socket: Socket) -> None:
        name = str(uuid.uuid4())
        try:
            answer = await socket.rpc(self.METHOD, name, timeout=50)
        except RpcFailed as failed:
            self._ring.tally.counts[f"calls: {failed}"] += 1
        except Exception as error:
            self._ring.tally.counts[f"calls: {type(error).__name__}"] += 1
        else:
            self._ring.tally.counts["calls ok"] += 1
            if not self.executed[name]:
                self._ring.tally.blame("ok without execution", name)
            if answer != f"did {name}":
                self._ring.tally.blame("wrong answer", name)


class Load:
    """Everything that clients do."""

    def __init__(self, ring: Ring, accounts: int) -> None:
        self._ring = ring
        self._accounts = accounts
        self.watchers: list[Watcher] = []
        self.writers: list[Writers] = []
        self.daemons: list[Daemon] = []
        self._running: list[Deferred[None]] = []

    async def begin(self) -> None:
        """Make the accounts, and let everybody begin."""
        ring = self._ring
        for _ in range(self._accounts):
            account = await sign_in(ring.servers[0], AccountKeys.generate())
            session = await account.create_session("tag", {})
            self.watchers += [Watcher(ring, account) for _ in range(4)]
            self.writers += [Writers(ring, account, session) for _ in range(3)]
            self.daemons.append(Daemon(ring, account))
        work = [one.run for one in (*self.watchers, *self.writers, *self.daemons)]
        work += [daemon.call for daemon in self.daemons for _ in range(2)]
        self._running = [Deferred.fromCoroutine(run()) for run in work]

    async def finish(self, latest: Callable[[str], int]) -> None:
        """Stop writing, see who is behind, and stop; ``latest`` knows an account's number."""
        ring = self._ring
        ring.writing = False
        await deferLater(ring.reactor, 8)
        for watcher in self.watchers:
            number = latest(watcher.account.id)
            there = watcher.socket is not None and watcher.socket.connected
            if there and watcher.numbers.last not in (None, number):
                ring.tally.blame("behind at the end", f"{watcher.numbers.last} of {number}")
        for writer in {writer.session.id: writer for writer in self.writers}.values():
            of_session = [one.acknowledged for one in self.writers if one.session is writer.session]
            await writer.check(set[str]().union(*of_session))
        ring.watching = False
        for server in ring.servers:
            await server.close()
        for watcher in self.watchers:
            if watcher.socket is not None:
                watcher.socket.abort()
