"""A parent and its workers, all real, on a real database."""

from __future__ import annotations

import json
import os
import signal
from io import BytesIO
from pathlib import Path
from typing import Any

import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from happy.base.errors import StartupError
from happy.client import AccountKeys, RemoteServer, sign_in
from happy.postgres.orphans import FolderLock
from tests.operator.case import run
from tests.workers.case import PATIENCE, WorkersCase


@implementer(IAgentEndpointFactory)
class OnSocket:
    """Sends every request to one unix socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def endpointForURI(self, uri: Any) -> UNIXClientEndpoint:
        return UNIXClientEndpoint(reactor, str(self._path))


class WorkersTests(WorkersCase):
    async def ask(self, times: int) -> list[int]:
        """The answers to requests that are made at once, each on a connection of its own."""
        agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
        asked = [agent.request(b"GET", b"http://127.0.0.1:%d/health" % self.port) for _ in range(times)]
        answers = await gatherResults(asked, consumeErrors=True)
        await gatherResults([treq.content(answer) for answer in answers])
        return [answer.code for answer in answers]

    async def monitor(self) -> None:
        """The metrics of all are on one page; readiness, and the page for people, are any worker's."""
        url = f"http://127.0.0.1:{self.metrics}"
        page = await treq.text_content(await treq.get(f"{url}/metrics", persistent=False))
        expected = (
            'happy_sockets{worker="w1",',
            'happy_sockets{worker="w2",',
            'process_cpu_seconds_total{worker="parent",',
        )
        self.assertEqual([one for one in expected if one not in page], [])
        ready = await treq.get(f"{url}/ready", persistent=False)
        self.assertEqual((ready.code, (await treq.json_content(ready))["ready"]), (200, True))
        people = await treq.get(f"{url}/", persistent=False)
        self.assertIn(b"<html", await treq.content(people))
        self.assertEqual(people.headers.getRawHeaders("content-type"), ["text/html; charset=utf-8"])
        self.assertTrue(people.headers.hasHeader("content-security-policy"))
        nothing = await treq.post(f"{url}/metrics", persistent=False)
        self.assertEqual((nothing.code, (await treq.json_content(nothing))["error"]), (404, "Not Found"))

    async def poll(self, times: int) -> None:
        """Open sessions of polling and use each, on a connection for each request: any worker gets it."""
        agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
        url = f"http://127.0.0.1:{self.port}/v1/updates/?EIO=4&transport=polling"
        workers = set()
        for _ in range(times):
            opened = await treq.text_content(await agent.request(b"GET", url.encode()))
            sid = json.loads(opened[1:])["sid"]
            workers.add(sid.partition(".")[0])
            session = f"{url}&sid={sid}".encode()
            body = FileBodyProducer(BytesIO(b"40{}"))
            posted = await agent.request(b"POST", session, None, body)
            self.assertEqual((posted.code, await treq.content(posted)), (200, b"ok"))
            polled = await agent.request(b"GET", session)
            self.assertEqual((polled.code, (await treq.content(polled))[:2]), (200, b"44"))
        self.assertEqual(workers, {"w1", "w2"})

    async def hang(self, worker: str, times: int) -> list[Deferred[Any]]:
        """Polls for sessions of one worker, which wait there, through whoever got the connection."""
        agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
        url = f"http://127.0.0.1:{self.port}/v1/updates/?EIO=4&transport=polling"
        ended: list[Deferred[Any]] = []
        while len(ended) < times:
            opened = await treq.text_content(await agent.request(b"GET", url.encode()))
            sid = json.loads(opened[1:])["sid"]
            if sid.startswith(f"{worker}."):
                # It ends with an answer, or with the connection of the worker that has it.
                ended.append(agent.request(b"GET", f"{url}&sid={sid}".encode()).addBoth(lambda _: None))
        return ended

    async def said(self, *arguments: str) -> Any:
        """The document of a command that an operator gives."""
        given = ["--data-dir", str(self.folder), "--database-url", self.dsn, *arguments, "--json"]
        ran = await deferToThread(run, given)
        self.assertEqual((ran.status, ran.err), (0, ""))
        return ran.document

    async def operate(self) -> None:
        """Commands are about all workers."""
        server = RemoteServer(f"http://127.0.0.1:{self.port}", reactor)
        phone = await sign_in(server, AccountKeys.generate())
        sockets = [await phone.open_socket() for _ in range(6)]
        status = await self.said("status")
        self.assertEqual((status["ready"], status["sockets"]["user"]), (True, 6))
        self.assertEqual([node["name"] for node in status["nodes"]], ["w1", "w2"])
        self.assertEqual(sum(node["sockets"] for node in status["nodes"]), 6)
        told = [{name: value for name, value in node.items() if name != "secret"} for node in status["nodes"]]
        self.assertEqual(await self.on_the_page(), (told, status["sockets"]))
        ended = [socket.closed() for socket in sockets]
        self.assertEqual((await self.said("revoke", phone.id))["closed"], 6)
        await gatherResults(ended)
        await server.close()

    async def on_the_page(self) -> tuple[Any, Any]:
        """The lines of nodes and the sockets that the page for people shows, which has also plots."""
        url = f"http://127.0.0.1:{self.metrics}/status.json"
        shown = await treq.json_content(await treq.get(url, persistent=False))
        self.assertGreater(shown["history"]["memoryBytes"][-1], 0)
        self.assertGreater(shown["status"]["uptimeMs"], 0)
        return shown["status"]["nodes"], shown["status"]["sockets"]

    async def drain(self, worker: Any) -> None:
        """Nobody takes new sockets in a drained server, not even who comes later."""
        await self.said("drain", "--timeout", "0")
        killed = worker.pid
        os.kill(killed, signal.SIGKILL)
        self.assertEqual(await self.ask(32), [200] * 32)
        await self.replaced(killed, worker)
        status = await self.said("status")
        self.assertEqual((status["ready"], status["reasons"]), (False, ["draining"]))
        self.assertEqual([node["state"] for node in status["nodes"]], ["not ready", "not ready"])
        undone = await self.said("drain", "--undo", "--all")
        self.assertEqual((undone["left"], len(undone["nodes"])), (sum(undone["nodes"].values()), 2))
        self.assertTrue((await self.said("status"))["ready"])

    async def replaced(self, old: int | None, worker: Any) -> None:
        """Wait until a worker is another process."""
        while worker.pid in (old, None):
            await deferLater(reactor, 0.01)

    async def stand_still(self, worker: Any) -> None:
        """A process that does nothing any more, and does not end either, is killed and replaced."""
        while not worker._process.has_spoken():
            await deferLater(reactor, 0.01)
        stopped = worker.pid
        os.kill(stopped, signal.SIGSTOP)
        while worker.pid == stopped:
            worker.look()
            await deferLater(reactor, 0.01)
        await self.replaced(stopped, worker)
        while not worker.serves:
            await deferLater(reactor, 0.01)
        self.assertEqual(await self.ask(8), [200] * 8)

    async def test_life(self) -> None:
        """All serve on the same endpoints, who dies is replaced and nobody turned away; all end in order."""
        parent = await self.started()
        first, second = parent.pool.workers
        self.assertNotEqual(first.pid, second.pid)
        self.assertEqual(await self.ask(32), [200] * 32)
        by_socket = Agent.usingEndpointFactory(reactor, OnSocket(self.outside / "socket"))
        self.assertEqual((await by_socket.request(b"GET", b"http://happy/health")).code, 200)

        await self.poll(16)
        await self.monitor()
        await self.operate()
        hanging = await self.hang("w1", 8)
        await self.drain(first)
        # Well before the client's connection would be taken for idle.
        await gatherResults(hanging).addTimeout(PATIENCE / 3, reactor)

        await self.stand_still(second)
        orphan = second.pid
        second._process.transport.closeStdin()  # as the kernel does when the parent dies
        await self.replaced(orphan, second)
        self.assertEqual(await self.ask(8), [200] * 8)

        await Deferred.fromCoroutine(parent.stop()).addTimeout(PATIENCE, reactor)
        self.assertEqual((first.pid, second.pid), (None, None))
        self.assertFalse((self.outside / "socket").exists())
        self.assertFalse((self.folder / "control.sock").exists())
        self.assertEqual(self.logged.count("Stopping"), 3)

    async def test_cannot_start(self) -> None:
        """What keeps a worker from starting is the reason of the whole, in its own words."""
        self.folder.mkdir()
        (self.folder / "run").touch()
        error = await self.assertFailure(Deferred.fromCoroutine(self.make().start()), StartupError)
        self.assertIn("cannot listen on", str(error))

    async def test_taken_folder(self) -> None:
        """A data folder in which other workers have their sockets is left alone."""
        theirs = self.folder / "run" / "w1"
        theirs.mkdir(parents=True)
        lock = FolderLock(self.folder / "run.lock")
        lock.take()
        self.addCleanup(lock.release)
        error = await self.assertFailure(Deferred.fromCoroutine(self.make().start()), StartupError)
        self.assertEqual(str(error), f"another server is running with the data folder {self.folder}")
        self.assertTrue(theirs.exists())

    async def test_taken_port(self) -> None:
        """A port that another server has is not shared with it."""
        other = reactor.listenTCP(self.port, Factory(), interface="127.0.0.1")
        self.addCleanup(other.stopListening)
        error = await self.assertFailure(Deferred.fromCoroutine(self.make().start()), StartupError)
        self.assertIn(f"cannot listen on tcp:{self.port}", str(error))
