"""Clients that come back to another server of the same service, as they see it (realtime.md A.14)."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from happy.client import Account, RemoteServer, Scope, Socket, SocketRefused
from happy.cluster import claims
from happy.service.composition import Running
from happy.storage import access
from tests.cluster.memory_bus import MemoryBus, MemoryEngine
from tests.harness import psql
from tests.live.returning import BEGUN, ForgetfulStories, ReturningCase, Stories


class MovingCase(ReturningCase):
    """Two servers."""

    settings = {"shortcuts": False, "database_pool": 2}  # noqa: RUF012

    async def setUp(self) -> None:
        from twisted.internet import reactor

        for patience in ("FETCH_SECONDS", "LET_GO_SECONDS"):
            self.patch(claims, patience, 30.0)
        self.engine = MemoryEngine(reactor)  # type: ignore[arg-type]
        await super().setUp()
        self.second = self.make_running()
        await self.second.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.second.stop()))
        self.there = RemoteServer(self.urls.split(",")[1], reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.there.close()))
        for one in (self.running, self.second):
            while not (await one.status.report()).nodes:
                await deferLater(reactor, 0.01)  # type: ignore[arg-type]

    def make_running(self) -> Running:
        from twisted.internet import reactor

        return Running(self.config(), reactor, make_bus=lambda dsn: MemoryBus(self.engine))

    @property
    def urls(self) -> str:
        return f"{self.url},http://127.0.0.1:{self.second.ports[0].getHost().port}"

    def elsewhere(self, account: Account) -> Account:
        """The same account at the second server."""
        return Account(self.there, account.token, account.keys)


class MovingTests(Stories, MovingCase):
    """Node's unmodified socket.io-client, and ours."""

    async def test_back_and_forth(self) -> None:
        """One that goes on to the first server again hears what it missed meanwhile."""
        back = {"recovered 2": True, "heard 2": [2, "connect"], "recovered 3": True}
        expected = {**back, "heard 3": [3, "connect"], "same id": True}
        self.assertEqual(await self.tell("twice"), BEGUN | expected)

    async def lost(self, scope: Scope | None = None) -> tuple[Account, Socket]:
        """A client of the first server that heard one update and lost its connection."""
        phone = await self.new_phone()
        socket = await self.connect(phone, scope)
        await phone.create_session("1", {})
        if scope is None:
            await socket.next_update("new-session")
        return phone, socket

    async def test_another_scope(self) -> None:
        """A private id is of no use to a client that is another one."""
        phone, socket = await self.lost()
        socket.abort()
        await socket.closed()
        machine = await self.elsewhere(phone).register_machine(f"machine-{phone.id}", {})
        other = await self.connect(self.elsewhere(phone), Scope.machine(machine.id), after=socket)
        self.assertFalse(other.recovered)
        again = await self.connect(self.elsewhere(phone), after=socket)
        self.assertTrue(again.recovered)

    async def test_quiet(self) -> None:
        """One that missed nothing, and hears nothing, can be lost again."""
        phone, socket = await self.lost()
        for _ in range(2):
            socket.abort()
            await socket.closed()
            socket = await self.connect(self.elsewhere(phone), after=socket)
            self.assertTrue(socket.recovered)
        await phone.create_session("2", {})
        self.assertEqual((await socket.next_update("new-session"))["seq"], 2)

    async def test_methods(self) -> None:
        """What it offers it offers as before, without a word."""
        phone, socket = await self.lost()
        await socket.register("double", lambda params: params * 2)
        socket.abort()
        await socket.closed()
        again = await self.connect(self.elsewhere(phone), after=socket)
        self.assertTrue(again.recovered)
        asked: Deferred[None] = Deferred()
        again.on("rpc-request", lambda *_: asked.callback(None))
        caller = await self.connect(phone)
        Deferred.fromCoroutine(caller.rpc("double", 21)).addErrback(lambda _: None)
        await asked

    async def test_machines(self) -> None:
        """A machine that moves is not reported as gone."""
        phone = await self.new_phone()
        machine = await phone.register_machine(f"machine-{phone.id}", {})
        app = await self.connect(phone)
        daemon = await self.connect(phone, Scope.machine(machine.id))
        await app.next_ephemeral("machine-activity")
        changed = {"machineId": machine.id, "metadata": "sealed", "expectedVersion": 1}
        self.assertEqual((await app.call("machine-update-metadata", changed))["result"], "success")
        await daemon.next_update("update-machine")
        ended = daemon.closed()
        again = await self.connect(self.elsewhere(phone), Scope.machine(machine.id), after=daemon)
        self.assertTrue(again.recovered)
        await ended
        self.assertTrue((await app.next_ephemeral("machine-activity"))["active"])
        self.assertEqual(app.untaken("ephemeral"), [])

    async def test_revoked(self) -> None:
        """A token that was revoked meanwhile is refused before anything else."""
        phone, socket = await self.lost()
        socket.abort()
        await socket.closed()
        await self.running.server.database.transact(lambda tx: access.disable(tx, phone.id))
        await self.second._access.refresh()
        with self.assertRaises(SocketRefused):
            await self.elsewhere(phone).open_socket(after=socket)

    async def test_revoked_meanwhile(self) -> None:
        """So is one that is revoked while the other server is asked."""
        phone, socket = await self.lost()
        socket.abort()
        await socket.closed()
        coming = Deferred.fromCoroutine(self.elsewhere(phone).open_socket(after=socket))
        self.engine.freeze()
        await self.running.server.database.transact(lambda tx: access.disable(tx, phone.id))
        await self.second._access.refresh()
        self.engine.thaw()
        with self.assertRaises(SocketRefused):
            await coming

    async def test_server_gone(self) -> None:
        """A client of a server that is there no more begins anew, at once."""
        phone, socket = await self.lost()
        await self.running.stop()
        again = await self.connect(self.elsewhere(phone), after=socket)
        self.assertFalse(again.recovered)

    async def test_no_answer(self) -> None:
        """So does one of a server that does not answer."""
        phone, socket = await self.lost()
        socket.abort()
        await socket.closed()
        await self.connect(self.elsewhere(phone))
        self.engine.freeze()
        self.patch(claims, "FETCH_SECONDS", 0.1)
        again = await self.connect(self.elsewhere(phone), after=socket)
        self.assertFalse(again.recovered)
        self.engine.thaw()
        await self.elsewhere(phone).create_session("2", {})
        self.assertEqual((await again.next_update("new-session"))["seq"], 2)

    async def test_the_log_is_gone(self) -> None:
        """So does one whose updates the second server cannot find out."""
        phone, socket = await self.lost()
        psql(self.dsn, 'UPDATE "Account" SET "seq" = "seq" + 1 WHERE "id" = %s', (phone.id,))
        socket.abort()
        await socket.closed()
        await phone.create_session("2", {})
        again = await self.connect(self.elsewhere(phone), after=socket)
        self.assertFalse(again.recovered)


class ForgetfulMovingTests(ForgetfulStories, MovingCase):
    """Two servers."""
