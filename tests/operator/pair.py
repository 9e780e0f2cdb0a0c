"""Two nodes in the process of the test, and happyctl beside each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from happy.client import Account, RemoteServer
from happy.service import access
from happy.service.composition import Running
from happy.settings.config import Config
from tests.cluster.memory_bus import MemoryBus, MemoryEngine
from tests.operator.case import OperatorCase, Ran, run

NEVER = 3600.0

"""Each secret's own keys."""


class Operating(NamedTuple):
    """A node, and its data folder."""

    running: Running
    folder: Path


class PairCase(OperatorCase):
    """``self.here`` and ``self.there`` are nodes of one service, called so.

    Nobody looks by itself what the operator has said, so what takes effect was told.
    """

    settings = {"database_pool": 2}  # noqa: RUF012

    async def setUp(self) -> None:
        from twisted.internet import reactor

        self.engine = MemoryEngine(reactor)  # type: ignore[arg-type]
        self.patch(access, "SECONDS", NEVER)
        self._name = "here"
        await super().setUp()
        self.here = Operating(self.running, self.folder)
        self._name = "there"
        self.there = await self.start(self.make_running())
        await self.until_known()

    def make_running(self, config: Config | None = None) -> Running:
        from twisted.internet import reactor

        settings = self.config() if config is None else config
        (settings.data_dir / "master-secret").write_text(f"{settings.master_secret}\n")
        (settings.data_dir / "master-secret").chmod(0o600)
        return Running(settings, reactor, make_bus=lambda dsn: MemoryBus(self.engine), node=self._name)

    async def start(self, running: Running) -> Operating:
        """A node that is stopped with the test."""
        self.addCleanup(lambda: Deferred.fromCoroutine(running.stop()))
        await running.start()
        return Operating(running, running.server.config.data_dir)

    async def until_known(self) -> None:
        """Either has said what there is to say of it."""
        for node in (self.here, self.there):
            await self.until(node, lambda other: other is not None and other.get("secret"))

    async def until(self, node: Operating, true: Callable[[Any], object]) -> None:
        """Wait until something is true of what ``node`` says of the other one, or of None."""
        while True:
            report = await node.running.status.report()
            others = [one for one in report.nodes if one["state"] != "here"]
            if true(others[0] if others else None):
                return
            await self.turn()

    async def turn(self) -> None:
        """Let others do something."""
        from twisted.internet import reactor

        waiting: Deferred[None] = Deferred()
        reactor.callLater(0.01, waiting.callback, None)  # type: ignore[attr-defined]
        await waiting

    async def ctl(self, node: Operating, *arguments: str) -> Ran:
        """A command at one of them."""
        where = ["--data-dir", str(node.folder), "--database-url", self.dsn]
        return await deferToThread(run, [*where, *arguments])

    async def document(self, node: Operating, *arguments: str, status: int = 0) -> Any:
        """What a command at one of them says to programs."""
        ran = await self.ctl(node, *arguments, "--json")
        assert ran.status == status, ran
        return ran.document

    def at(self, node: Operating, account: Account) -> Account:
        """The same account, at one of them."""
        from twisted.internet import reactor

        server = RemoteServer(f"http://127.0.0.1:{node.running.ports[0].getHost().port}", reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(server.close()))
        return Account(server, account.token, account.keys)
