"""Writers that race on one account over two nodes in processes of their own, one of which is killed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import SkipTest

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.cluster.race import race
from tests.cluster.redis_server import ANY
from tests.cluster.ring.load import Numbers, Tally


class RaceCase(TestCase):
    """The short form of ``python -m tests.cluster.race --kill``."""

    timeout = 120
    bus: ClassVar[str]

    async def race(self) -> None:
        """No client misses anything, hears it twice or out of order, or is answered before it hears."""
        report = await race(reactor, self.bus, updates=200, kill=True, back=False)
        self.assertEqual((report["wrong"], report["examples"]), ({}, []))
        self.assertEqual((report["updates"], report["killed"]), (200, True))
        self.assertGreater(report["counts"]["attempts repeated"], 0)


class RedisRaceTests(RaceCase):
    bus = "redis"

    async def test_race(self) -> None:
        """Over Redis."""
        if ANY is None:
            raise SkipTest("there is no Redis here")
        await self.race()


class PostgresRaceTests(RaceCase):
    bus = "postgres"

    async def test_race(self) -> None:
        """Over PostgreSQL alone."""
        await self.race()


class NumbersTests(SynchronousTestCase):
    """What is blamed of the numbers that a client hears."""

    def setUp(self) -> None:
        self.tally = Tally()
        self.numbers = Numbers(self.tally, "ann")

    def hear(self, *seqs: int, recovered: bool = False) -> dict[str, int]:
        """By another socket; what is wrong so far."""
        socket: Any = SimpleNamespace(recovered=recovered)
        self.numbers.begin(socket)
        for seq in seqs:
            self.numbers.hear({"seq": seq})
        return dict(self.tally.wrong)

    def test_well(self) -> None:
        """Who begins anew may begin anywhere; who is recovered goes on."""
        self.assertEqual(self.hear(3, 4), {})
        self.assertEqual(self.hear(5, 6, recovered=True), {})
        self.assertEqual(self.hear(9), {})
        self.assertEqual((self.numbers.first, self.numbers.last), (3, 9))

    def test_wrong(self) -> None:
        """Each kind of it has its name."""
        self.assertEqual(self.hear(1, 3), {"missed": 1})
        self.assertEqual(self.hear(4, 4, 2), {"missed": 1, "repeated": 1, "out of order": 1})
        self.assertEqual(self.hear(5, recovered=True)["falsely recovered"], 1)
