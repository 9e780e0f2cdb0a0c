"""Two whole servers on one database, as clients of either see them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from happy import __version__
from happy.client import Account, RemoteServer, Scope, Socket
from happy.service.composition import Running
from tests.cluster.memory_bus import MemoryBus, MemoryEngine
from tests.live.case import LiveCase


class TestTwoServers(LiveCase):
    """One account, which is at both."""

    settings = {"shortcuts": False, "database_pool": 2}  # noqa: RUF012

    async def setUp(self) -> None:
        from twisted.internet import reactor

        self.engine = MemoryEngine(reactor)  # type: ignore[arg-type]
        await super().setUp()
        self.second = self.make_running()
        await self.second.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.second.stop()))
        self.here = await self.new_phone()
        port = self.second.ports[0].getHost().port
        server = RemoteServer(f"http://127.0.0.1:{port}", reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(server.close()))
        self.there = Account(server, self.here.token, self.here.keys)

    def make_running(self) -> Running:
        from twisted.internet import reactor

        return Running(self.config(), reactor, make_bus=lambda dsn: MemoryBus(self.engine))

    async def socket(self, account: Account, scope: Scope | None = None) -> Socket:
        return await self.connect(account, scope)

    async def test_updates(self) -> None:
        """What happens at one server is told by the other, in order."""
        watcher = await self.socket(self.here)
        session = await self.there.create_session("tag", {})
        await self.there.send_messages(session, ["hello"])
        await self.here.send_messages(session, ["and back"])
        heard = [await watcher.next_event("update") for _ in range(3)]
        self.assertEqual([update["seq"] for update in heard], [1, 2, 3])
        kinds = [update["body"]["t"] for update in heard]
        self.assertEqual(kinds, ["new-session", "new-message", "new-message"])

    async def test_status(self) -> None:
        """A server says which nodes there are, and how each is."""
        watcher = await self.socket(self.here)
        await self.there.create_session("tag", {})
        await watcher.next_event("update")
        report = await self.running.status.report()
        self.assertEqual([one["state"] for one in report.nodes], ["here", "there"])
        self.assertEqual([one["version"] for one in report.nodes], [__version__] * 2)
        self.assertEqual(report.nodes[0]["sockets"], 1)

    async def test_calls(self) -> None:
        """A method that is offered at one server is called at the other."""
        machine = await self.here.register_machine(f"machine-{self.here.id}", {})
        daemon = await self.socket(self.here, Scope.machine(machine.id))

        async def double(params: Any) -> Any:
            return params * 2

        await daemon.register(f"{machine.id}:double", double)
        phone = await self.socket(self.there)
        self.assertEqual(await phone.rpc(f"{machine.id}:double", 21), 42)

    async def test_machines(self) -> None:
        """An app hears when a machine comes to the other server, and when it leaves."""
        machine = await self.here.register_machine(f"machine-{self.here.id}", {})
        phone = await self.socket(self.there)
        daemon = await self.socket(self.here, Scope.machine(machine.id))
        online = await phone.next_ephemeral("machine-activity")
        await daemon.close()
        offline = await phone.next_ephemeral("machine-activity")
        self.assertEqual((online["active"], offline["active"]), (True, False))

    async def test_a_stop(self) -> None:
        """A server that leaves says goodbye: its clients go on at the other one, and nothing was logged."""
        phone = await self.socket(self.there)
        daemon = await self.socket(self.here)
        closed = daemon.closed()
        await self.running.stop()
        await closed
        await self.there.create_session("tag", {})
        update = await phone.next_update("new-session")
        self.assertEqual(update["seq"], 1)
        self.assertEqual(self.complaints, [])
