"""What large files cost a server as an operator runs it: no memory worth speaking of."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SkipTest, TestCase

from happy.client import Account, AccountKeys, RemoteServer, sign_in
from tests.live.serving import Served

SIZE = 10 * 1024 * 1024
ROUNDS = 5
AT_ONCE = 4
BOUND = 8 * 1024 * 1024

BINARY = {"content-type": "application/octet-stream"}


class MemoryTests(TestCase):
    """A server in a process of its own, watched through the kernel's account of its memory."""

    timeout = 120

    async def setUp(self) -> None:
        if not Path("/proc/self/status").exists():
            raise SkipTest("This system does not tell the memory of other processes")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.served = Served(Path(folder.name), "--metrics-enabled=false")
        self.addCleanup(lambda: Deferred.fromCoroutine(self.served.stop()))
        await self.served.start()
        self.remote = RemoteServer(self.served.url, reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.remote.close()))

    def memory(self, what: str) -> int:
        """Bytes of the server's ``VmRSS`` (resident now) or ``VmHWM`` (at most so far)."""
        assert self.served.transport is not None
        status = Path(f"/proc/{self.served.transport.pid}/status").read_text()
        found = re.search(rf"^{what}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    async def test_attachments(self) -> None:
        """Twenty files of 10 MiB, four at a time, pass in either direction in constant memory."""
        account = await sign_in(self.remote, AccountKeys.generate())
        session = await account.create_session("tag", {})
        path = f"/v1/sessions/{session.id}/attachments"
        content = os.urandom(SIZE)
        await self.pass_through(account, f"{path}/small.enc", content[:1000])
        before = self.memory("VmRSS")
        for _ in range(ROUNDS):
            await self.at_once(lambda n: self.pass_through(account, f"{path}/{n}.enc", content))
        self.assertLess(self.memory("VmHWM") - before, BOUND)

    async def pass_through(self, account: Account, path: str, content: bytes) -> None:
        """Store a file and get it back."""
        stored = await account.request("PUT", path, content=content, headers=BINARY)
        self.assertEqual(stored.status, 200)
        self.assertEqual((await account.request("GET", path)).content, content)

    async def at_once(self, work: Callable[[int], Awaitable[None]]) -> None:
        """Do several things at the same time."""
        await gatherResults([Deferred.fromCoroutine(work(number)) for number in range(AT_ONCE)])
