"""Clients that do the same thing again and again, and note when it was done."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from happy.client import Account, AccountKeys, RemoteServer, RpcFailed, Session, Socket, sign_in


class Call(NamedTuple):
    """One call; ``failed`` is why, or None."""

    began: float
    ended: float
    failed: str | None


class Probe:
    """Something that is done until it is told to stop."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.going = True

    def pause(self, seconds: float) -> Deferred[None]:
        """Wait."""
        return deferLater(self.reactor, seconds)


class Writer(Probe):
    """Writes messages one after the other, each until it is answered.

    ``sent`` and ``answered`` are the times of both, by local id.
    """

    def __init__(self, reactor: Any, account: Account, session: Session, every: float) -> None:
        super().__init__(reactor)
        self._account = account
        self._session = session
        self._every = every
        self.sent: dict[str, float] = {}
        self.answered: dict[str, float] = {}

    async def run(self) -> None:
        """Write."""
        while self.going:
            name = str(uuid.uuid4())
            self.sent[name] = time.monotonic()
            while self.going:
                try:
                    await self._account.send_messages(self._session, ["."], [name])
                except Exception:
                    await self.pause(0.05)
                else:
                    self.answered[name] = time.monotonic()
                    break
            await self.pause(self._every)


class Watched(Probe):
    """A user-scoped socket at one node: what it heard when, by local id, and what was wrong with it."""

    def __init__(self, reactor: Any, account: Account) -> None:
        super().__init__(reactor)
        self._account = account
        self.heard: dict[str, float] = {}
        self.wrong: Counter[str] = Counter()
        self.lost: list[float] = []
        self._last: int | None = None

    async def open(self) -> Socket:
        """Connect."""
        self._last = None
        socket = await self._account.open_socket(timeout=5)
        socket.on_update(self._hear)
        return socket

    async def run(self, socket: Socket) -> None:
        """Come back whenever it is lost."""
        while self.going:
            await socket.closed()
            if self.going:
                self.lost.append(time.monotonic())
            while self.going:
                try:
                    socket = await self.open()
                    break
                except Exception:
                    await self.pause(0.1)

    def _hear(self, update: Any) -> None:
        seq, self._last, last = update["seq"], update["seq"], self._last
        if last is not None and seq != last + 1:
            self.wrong["missed" if seq > last else "repeated or out of order"] += 1
        message = update["body"].get("message")
        if message is not None:
            self.heard[message["localId"]] = time.monotonic()


class Offering(Probe):
    """Offers a method at the first of some nodes that takes it."""

    METHOD = "probe"

    def __init__(self, reactor: Any, accounts: list[Account]) -> None:
        super().__init__(reactor)
        self._accounts = accounts
        self._socket: Socket | None = None
        self.executed: Counter[str] = Counter()

    async def open(self) -> Socket:
        """Offer it. Raises whatever the last of the nodes does."""
        for account in self._accounts:
            try:
                socket = await account.open_socket(timeout=2)
                await socket.register(self.METHOD, self._execute, timeout=2)
            except Exception:
                if account is self._accounts[-1]:
                    raise
            else:
                self._socket = socket
                self._at = account
                return socket
        raise AssertionError

    def go_home(self) -> None:
        """Offer it at the first node again."""
        if self._socket is not None and self._at is not self._accounts[0]:
            self._socket.abort()

    async def run(self, socket: Socket) -> None:
        """Come back whenever it is lost, as a client does: within about a second."""
        while self.going:
            await socket.closed()
            while self.going:
                await self.pause(0.5)
                try:
                    socket = await self.open()
                    break
                except Exception:
                    continue

    async def _execute(self, name: Any) -> Any:
        self.executed[name] += 1
        return name


class Caller(Probe):
    """Calls the method again and again from one node."""

    def __init__(self, reactor: Any, account: Account) -> None:
        super().__init__(reactor)
        self._account = account
        self.calls: list[Call] = []

    async def run(self) -> None:
        """Call."""
        socket: Socket | None = None
        while self.going:
            began, failed = time.monotonic(), None
            try:
                if socket is None or not socket.connected:
                    socket = await self._account.open_socket(timeout=5)
                    continue
                await socket.rpc(Offering.METHOD, str(uuid.uuid4()), timeout=50)
            except RpcFailed as error:
                failed = str(error)
            except Exception as error:
                failed = type(error).__name__
            self.calls.append(Call(began, time.monotonic(), failed))
            await self.pause(0.05)


class Probes:
    """All of them, on three nodes."""

    def __init__(self, reactor: Any, urls: list[str]) -> None:
        self._reactor = reactor
        self._servers = [RemoteServer(url, reactor, timeout=12, connections=8) for url in urls]
        self._running: list[Deferred[None]] = []

    async def begin(self) -> None:
        """Make two accounts, and let everybody begin."""
        first, second, third = self._servers
        account = await sign_in(first, AccountKeys.generate())
        another = await sign_in(second, AccountKeys.generate())
        session, busy = await account.create_session("tag", {}), await another.create_session("tag", {})
        of = [Account(server, account.token, account.keys) for server in self._servers]
        far = Account(third, another.token, another.keys)
        self.here, self.there, self.third = (Watched(self._reactor, account) for account in of)
        self.far = Watched(self._reactor, far)
        self.offering = Offering(self._reactor, [of[1], of[2]])
        self.writer = Writer(self._reactor, of[0], session, 0.02)
        self.busy = Writer(self._reactor, another, busy, 0.0)
        self.caller = Caller(self._reactor, of[0])
        waiting = [(one, await one.open()) for one in (*self._watched(), self.offering)]
        self._running = [Deferred.fromCoroutine(one.run(socket)) for one, socket in waiting]
        self._running += [Deferred.fromCoroutine(one.run()) for one in (self.writer, self.busy, self.caller)]

    def lost_since(self, began: float) -> int:
        """How many sockets of watchers were lost since then."""
        return sum(at >= began for one in self._watched() for at in one.lost)

    def _watched(self) -> tuple[Watched, ...]:
        return self.here, self.there, self.third, self.far

    async def finish(self) -> dict[str, int]:
        """Stop writing, wait for what is under way, and say what was wrong."""
        self.writer.going = self.busy.going = self.caller.going = False
        await deferLater(self._reactor, 3)
        watched = self._watched()
        pairs = ((self.writer, self.here), (self.writer, self.third), (self.busy, self.far))
        wrong = sum((one.wrong for one in watched), Counter())
        unheard = sum(name not in watching.heard for writer, watching in pairs for name in writer.answered)
        twice = sum(times > 1 for times in self.offering.executed.values())
        for one in (*watched, self.offering):
            one.going = False
        for server in self._servers:
            await server.close()
        return {"answered and not heard": unheard, "executed twice": twice, **wrong}
