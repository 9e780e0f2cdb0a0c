"""Batches that are stored, with the messages of an account whose many clients take long to be told."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from happy.base.pace import TURN_SECONDS, Pace
from happy.metrics import Metrics
from happy.realtime import committer as module
from happy.realtime.client import Client, owner_of
from happy.realtime.committer import Committer
from happy.realtime.hub import Hub
from happy.realtime.message_queue import LARGE_BYTES, LIGHT_BYTES
from happy.storage.messages import IncomingMessage
from tests.realtime.clients import MemoryLink, connect, events
from tests.realtime.test_committer_trouble import Trouble
from tests.socketio.peers import TurningClock

SEND_SECONDS = 0.00005


class DeliveringTests(SynchronousTestCase):
    """The account "large" has 400 clients, "small" has one; the last of each is looked at."""

    def setUp(self) -> None:
        metrics = Metrics(CollectorRegistry())
        self.clock, self.database = TurningClock(), Trouble()
        self.pace = Pace(self.clock)
        self.hub = Hub(metrics, pace=self.pace)
        self.committer = Committer(self.clock, self.database, self.hub, metrics)  # type: ignore[arg-type]
        self.last = {account: self.crowd(account, size) for account, size in (("large", 400), ("small", 1))}

    def crowd(self, account: str, size: int) -> Client:
        for _ in range(size):
            client = connect(account)
            client.socket._link.send = self.slowly(client.socket._link)  # type: ignore[method-assign]
            self.hub.add(client)
        return client

    def slowly(self, link: Any) -> Any:
        def send(packet: Any) -> None:
            self.clock.rightNow += SEND_SECONDS
            MemoryLink.send(link, packet)

        return send

    def send(self, account: str) -> Deferred[Any]:
        return self.committer.append(account, f"{account}'s", [IncomingMessage(None, account)])

    def turn(self) -> None:
        self.pace.begin()
        self.clock.advance(0)

    def together(self, *accounts: str) -> list[Deferred[Any]]:
        """A message of each account, all in one batch, which is stored and about to be told."""
        self.database.hold = hold = Deferred[None]()
        self.send("somebody")
        answers = [self.send(account) for account in accounts]
        self.database.hold = None
        self.pace.begin()
        hold.callback(None)
        return answers

    def heard(self, account: str) -> int:
        return len(events(self.last[account]))

    def test_one_account_keeps_itself_waiting(self) -> None:
        """The others of its batch are told and answered, and what follows of theirs is stored and told."""
        large, small = self.together("large", "small")
        self.turn()
        self.assertEqual((self.heard("small"), self.heard("large")), (1, 0))
        self.successResultOf(small)
        self.assertNoResult(large)
        self.assertTrue(self.committer.settled("small").called)
        self.assertNoResult(self.committer.settled("large"))
        self.pace.begin()
        self.successResultOf(self.send("small"))
        self.assertEqual(self.heard("small"), 2)
        self.assertNoResult(large)

    def test_nothing_overtakes(self) -> None:
        """Its next batch leaves when this one is told; every answer follows what it reveals."""
        [first] = self.together("large")
        second = self.send("large")
        heard: list[int] = []
        for answer in (first, second):
            answer.addCallback(lambda _: heard.append(self.heard("large")))
        while len(heard) < 2:
            self.assertEqual(len(self.database.attempts), 2 + len(heard))
            self.turn()
        self.assertEqual(heard, [1, 2])
        self.assertFalse(self.database.linearizer.held("large"))

    def test_a_stop_waits(self) -> None:
        """A stop ends when everything that was stored is told."""
        self.together("large")
        self.committer.start()
        stopping = self.committer.stop()
        self.assertNoResult(stopping)
        while not stopping.called:
            self.turn()
        self.assertEqual(self.heard("large"), 1)

    def test_so_much_is_told_at_a_time(self) -> None:
        """When too much is stored and not told, only little more is stored until some of it is."""
        self.patch(module, "MAX_UNTOLD_BYTES", 1)
        [large] = self.together("large")
        heavy = self.committer.append("other", "s", [IncomingMessage(None, "x" * LIGHT_BYTES)])
        huge = self.committer.append("third", "s", [IncomingMessage(None, "x" * (LARGE_BYTES + 1))])
        small = self.committer.append("small", "s", [IncomingMessage(None, "small")])
        stored = [text for contents, _ in self.database.attempts for text in contents]
        self.assertEqual(stored, ["somebody", "large", "small"])
        while not (heavy.called and huge.called):
            self.turn()
        for answer in (large, small, heavy, huge):
            self.successResultOf(answer)

    def test_its_own_input_does_not_keep_it(self) -> None:
        """However much the sockets of an account send, it is told in turn with all others."""
        [large] = self.together("large")

        class Flooding:
            def go_on(flooding) -> None:
                self.clock.rightNow += TURN_SECONDS
                self.pace.wait(owner_of("large"), flooding)

        for _ in range(500):
            self.pace.wait(owner_of("large"), Flooding())
        for _ in range(20):
            self.turn()
        self.successResultOf(large)
