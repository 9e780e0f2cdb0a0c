"""What an operator sees of a Redis that does not let a server in."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from tests.cluster.redis_server import ANY, RedisServer
from tests.harness import scratch_database
from tests.live.serving import Served


class RefusedStartTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        if ANY is None:
            raise SkipTest("there is no such server here")
        self.redis = RedisServer(ANY)
        self.addCleanup(self.redis.stop)
        self.secret = secrets.token_hex(32)
        self.folder = Path(tempfile.mkdtemp(prefix="happy-refused-"))
        self.addCleanup(shutil.rmtree, self.folder)
        database = scratch_database()
        self.dsn = database.__enter__()
        self.addCleanup(database.__exit__, None, None, None)

    def serve(self, user: str, *options: str) -> Served:
        """A server that is a user of Redis."""
        folder = self.folder / user / "".join(options)
        folder.mkdir(parents=True)
        address = self.redis.url.replace("//", f"//{user}:word@")
        environment = {"REDIS_URL": address, "DATABASE_URL": self.dsn, "HANDY_MASTER_SECRET": self.secret}
        served = Served(folder, "--metrics-port=0", *options, environment=environment)
        served.ready.addErrback(lambda _: None)
        return served

    async def test_refused(self: Any) -> None:
        """One line says why, without the password, whether there is one process or several."""
        self.redis.ask("ACL SETUSER", "known", "reset", "on", ">another", "+@all", "&*")
        self.redis.ask("ACL SETUSER", "poor", "reset", "on", ">word", "+@all", "-publish", "&*")
        asked = [
            self.serve(user, *options) for user in ("known", "poor") for options in ((), ("--workers=2",))
        ]
        statuses = await gatherResults([served.ended for served in asked])
        self.assertEqual(statuses, [1] * 4)
        begins = f"happy: redis-url: {self.redis.url} cannot be used: "
        wrong = f"{begins}it does not take the user and password\n"
        poor = f"{begins}the user may not do what is needed; docs/several-nodes.md has its rights\n"
        self.assertEqual([served.errors.decode() for served in asked], [wrong, wrong, poor, poor])

    async def test_no_such_host(self: Any) -> None:
        """One line says so; a single server that says nothing else of several nodes starts without a Redis
        whose container is not there."""
        environment = {"DATABASE_URL": self.dsn, "HANDY_MASTER_SECRET": self.secret}
        cases: list[tuple[str, dict[str, str], tuple[str, ...]]] = [
            ("redis://:word@redis.invalid", {}, ()),
            ("redis://redis", {"HAPPY_NODE": "n1"}, ()),
            ("redis://redis", {}, ("--workers=2",)),
        ]
        asked = [
            self.named(number, url, environment | more, *options)
            for number, (url, more, options) in enumerate(cases)
        ]
        self.assertEqual(await gatherResults([served.ended for served in asked]), [1] * 3)
        for served, (url, _, _) in zip(asked, cases, strict=True):
            place = url.replace(":word@", "")
            why = f"happy: redis-url: {place}:6379 cannot be used: its host has no address\n"
            self.assertEqual(served.errors.decode(), why)
        served = self.named(9, "redis://:a#b@redis", environment)
        await served.start()
        self.assertEqual(await served.stop(), 0)

    def named(self, number: int, url: str, environment: dict[str, str], *options: str) -> Served:
        """A server with a folder and a Redis of its own."""
        folder = self.folder / str(number)
        folder.mkdir()
        served = Served(folder, "--metrics-port=0", *options, environment=environment | {"REDIS_URL": url})
        served.ready.addErrback(lambda _: None)
        return served
