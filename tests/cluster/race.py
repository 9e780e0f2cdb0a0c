"""Writers that race on one account over several nodes: ``python -m tests.cluster.race``.

Ten writers, divided between two nodes, write 5,000 updates to one account as fast as it goes: messages by
HTTP, and metadata of their sessions by their sockets. Each writer's socket hears all of them, and so do
clients that move between the nodes all the time. An answer on a socket has to come after the update that it
is about, and after all before it; how far an answer by HTTP is ahead of the writer's socket is told.
``--kill`` kills the second node in the middle, and starts it again.

The exit status is 1 if an update was missed, repeated or out of order, if a client was falsely told that it
was recovered, or if an answer was ahead. ``--json`` writes the figures into a file.
"""

from __future__ import annotations

import argparse
import random
import signal
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from happy.client import Account, AccountKeys, RemoteServer, Session, Socket, sign_in
from tests.cluster.redis_server import ANY, RedisServer
from tests.cluster.ring.database import RingDatabase
from tests.cluster.ring.faults import NodeProcess
from tests.cluster.ring.load import Numbers, Ring, Watcher
from tests.cluster.ring.script import play, started

END_SECONDS = 20.0
"""How long clients may take, after the last update was answered, to hear of it."""

ANSWER_SECONDS = 15.0


class Racer:
    """A writer at one node, which goes to another one when that is gone. ``answered`` counts its updates."""

    def __init__(self, ring: Ring, account: Account, session: Session, server: RemoteServer) -> None:
        self._ring = ring
        self._account = account
        self._session = session
        self._server = server
        self._version = 1
        self._heard_version = 0
        self._heard: dict[str, float] = {}
        self.numbers = Numbers(ring.tally, session.id[-6:])
        self.socket: Socket | None = None
        self.answered = 0
        self.moved = 0
        self.ahead = 0.0
        """Seconds by which an answer by HTTP was ahead of the socket, at most."""
        self._ahead: dict[str, float] = {}

    async def connect(self) -> Socket:
        """Be connected, wherever that is possible."""
        while self.socket is None or not self.socket.connected:
            at = Account(self._server, self._account.token, self._account.keys)
            try:
                former, self.socket = (
                    self.socket,
                    await at.open_socket(after=self.socket, timeout=5, keep=10_000),
                )
            except Exception:
                await self._move()
                continue
            self.numbers.begin(self.socket)
            self.moved += former is not None
            for update in self.socket.untaken("update"):
                self._hear(update)
            self.socket.on_update(self._hear)
        return self.socket

    async def run(self, updates: int) -> None:
        """Write so many, one after the other."""
        for number in range(updates):
            await (self._change(f"{number}") if number % 2 else self._send(f"{self._session.id}-{number}"))
            self.answered += 1

    async def _move(self) -> None:
        self._ring.tally.counts["attempts repeated"] += 1
        self._server = self._ring.server()
        await self._ring.pause(0.1)

    async def _change(self, text: str) -> None:
        """Change the session's metadata, by the socket."""
        while True:
            socket = await self.connect()
            change = {"sid": self._session.id, "metadata": text, "expectedVersion": self._version}
            try:
                answer = await socket.call("update-metadata", change, timeout=ANSWER_SECONDS)
            except Exception:
                socket.abort()
                await self._move()
                continue
            if answer["result"] == "success" and self._heard_version < answer["version"]:
                self._ring.tally.blame("answer ahead", f"{self._session.id} {answer['version']}")
            self._version = answer.get("version", self._version)
            if answer.get("metadata") == text:  # in an attempt before, perhaps
                return

    async def _send(self, local_id: str) -> None:
        """Send a message, by HTTP."""
        while True:
            at = Account(self._server, self._account.token, self._account.keys)
            try:
                await at.send_messages(self._session, ["."], [local_id])
            except Exception:
                await self._move()
                continue
            answered = time.monotonic()
            await self._ring.turn()  # What came at the same time by the other connection is read by then.
            if self._heard.pop(local_id, None) is None:
                self._ahead[local_id] = answered
            return

    def _hear(self, update: Any) -> None:
        self.numbers.hear(update)
        body = update["body"]
        if body["t"] == "update-session" and body["id"] == self._session.id:
            self._heard_version = body["metadata"]["version"]
        elif body["t"] == "new-message" and body["sid"] == self._session.id:
            local_id = body["message"]["localId"]
            answered = self._ahead.pop(local_id, None)
            if answered is None:
                self._heard[local_id] = time.monotonic()
            elif not self.moved:
                self.ahead = max(self.ahead, time.monotonic() - answered)


class Race:
    """Some nodes, and what races on them. ``killed`` tells that one was killed meanwhile."""

    def __init__(self, reactor: Any, nodes: list[NodeProcess], latest: Any) -> None:
        self._reactor = reactor
        self._nodes = nodes
        self._latest = latest
        urls = [node.served.url for node in nodes]
        self.ring = Ring(reactor, urls, random.Random(1))
        self.killed = False
        self.seconds = 0.0

    async def begin(self, writers: int) -> None:
        """Make the account, a session for each writer, and let everybody connect."""
        ring = self.ring
        self._account = account = await sign_in(ring.servers[0], AccountKeys.generate())
        self.racers = []
        for number in range(writers):
            session = await account.create_session(str(number), {})
            self.racers.append(Racer(ring, account, session, ring.servers[number % len(ring.servers)]))
        self._since = self._latest(account.id)
        for racer in self.racers:
            await racer.connect()
        self._roaming = [Watcher(ring, account, (0.2, 1.0)) for _ in range(4)]
        self._watching = [Deferred.fromCoroutine(one.run()) for one in self._roaming]

    async def run(self, updates: int, *, kill: bool, back: bool) -> None:
        """Race, and see what everybody heard. Who is killed may come ``back``."""
        each = updates // len(self.racers)
        began = time.monotonic()
        racing = [Deferred.fromCoroutine(racer.run(each)) for racer in self.racers]
        if kill:
            while sum(racer.answered for racer in self.racers) < updates / 2:
                await self._pause(0.01)
            await self._kill(self._nodes[1])
            if back:
                await self._pause(0.5)
                await self._nodes[1].restart()
        await gatherResults(racing)
        self.seconds = time.monotonic() - began
        await self._see(self._since + each * len(self.racers))
        await self._end()

    async def _kill(self, node: NodeProcess) -> None:
        node.served.kill(signal.SIGKILL)
        self.killed = await node.served.exited() == -signal.SIGKILL

    async def _see(self, expected: int) -> None:
        """Blame whoever has not heard everything in the end."""
        latest = self._latest(self._account.id)
        if latest != expected:
            self.ring.tally.blame("lost" if latest < expected else "stored twice", f"{latest} of {expected}")
        for racer in self.racers:
            await racer.connect()
        deadline = time.monotonic() + END_SECONDS
        while self._behind(latest) and time.monotonic() < deadline:
            await self._pause(0.02)
        for racer in self._behind(latest):
            self.ring.tally.blame("behind at the end", f"{racer.numbers.last} of {latest}")
        for racer in self.racers:
            if racer.numbers.first != self._since + 1:
                self.ring.tally.blame("missed", f"{racer.numbers.first} is its first")

    def _behind(self, latest: int) -> list[Racer]:
        """Those that have not heard the last one; who begins anew after it hears nothing of it."""
        return [racer for racer in self.racers if racer.numbers.last not in (None, latest)]

    async def _end(self) -> None:
        self.ring.watching = False
        sockets = [one.socket for one in (*self.racers, *self._roaming)]
        for socket in sockets:
            if socket is not None:
                await socket.close()
        await gatherResults(self._watching)
        for server in self.ring.servers:
            await server.close()

    def _pause(self, seconds: float) -> Deferred[None]:
        return deferLater(self._reactor, seconds)


async def race(
    reactor: Any,
    bus: str,
    *,
    updates: int = 5_000,
    writers: int = 10,
    kill: bool = False,
    back: bool = True,
) -> dict[str, Any]:
    """One race on two nodes with a bus; what is to be reported of it."""
    database = RingDatabase()
    redis = None if bus == "postgres" else RedisServer(ANY or "redis-server")
    async with started(reactor, ("n1", "n2"), database.dsn, redis, {"HAPPY_BUS": bus}) as nodes:
        run = Race(reactor, nodes, database.latest)
        await run.begin(writers)
        await run.run(updates, kill=kill, back=back)
    if redis is not None:
        redis.stop()
    tally = run.ring.tally
    return {
        "bus": bus,
        "updates": sum(racer.answered for racer in run.racers),
        "seconds": round(run.seconds, 2),
        "killed": run.killed,
        "counts": dict(sorted(tally.counts.items())),
        "http answers ahead by at most": round(max(racer.ahead for racer in run.racers), 4),
        "wrong": dict(tally.wrong),
        "examples": tally.examples,
    }


def main() -> None:
    """Run it from the command line."""
    from twisted.internet import reactor

    parser = argparse.ArgumentParser(prog="python -m tests.cluster.race", description=__doc__)
    parser.add_argument("--bus", choices=("redis", "postgres"), default="redis")
    parser.add_argument("--updates", type=int, default=5_000)
    parser.add_argument("--writers", type=int, default=10)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    racing = race(reactor, options.bus, updates=options.updates, writers=options.writers, kill=options.kill)
    play(racing, options.json, lambda report: report["wrong"] or report["killed"] != options.kill)


if __name__ == "__main__":
    main()
