"""Events that clients bring about: told, and no more of them than anybody would read."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from happy.logs.events import GATHERING, MINUTE, MOST, Events


class Refusals:
    """Notes what the file with addresses would be told."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str]] = []

    def note(self, address: str, reason: str) -> None:
        self.noted.append((address, reason))


class EventsTests(SynchronousTestCase):
    """What is said, and how often."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.refusals = Refusals()
        self.events = Events(self.clock, self.refusals)
        self.seen = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)

    @property
    def said(self) -> list[str]:
        return [formatEvent(event) for event in self.seen]

    def test_each(self) -> None:
        """Each event has its name, and a sentence without whole ids."""
        account, machine = "c1234567890", "m9876543210"
        self.events.account_made(account)
        self.events.pairing_waits("terminal")
        self.events.pairing_answered(account, "terminal")
        self.events.device_online(account, "Machine", machine)
        self.events.device_offline(account, "Client ios")
        self.events.revoked(account, 2)
        self.events.push_failed(account, "HTTP 500")
        self.events.slow_reader_cut("backlog")
        self.assertEqual(
            [(event["event"], event["log_level"].name, formatEvent(event)) for event in self.seen],
            [
                ("account-made", "info", "Account c12345 was made"),
                ("pairing-waits", "info", "A terminal waits to be let into an account"),
                ("pairing-answered", "info", "Account c12345 let a terminal in"),
                ("device-online", "info", "Machine m98765 of account c12345 is online"),
                ("device-offline", "info", "Client ios of account c12345 is offline"),
                ("revoked", "info", "Tokens of account c12345 were revoked; 2 sockets are closed"),
                ("push-failed", "warn", "A notification for account c12345 failed: HTTP 500"),
                ("slow-reader-cut", "warn", "A client was cut, since it reads too slowly: backlog"),
            ],
        )

    def test_flood(self) -> None:
        """Of very many only the first lines are written, and their number when the minute is over."""
        for _ in range(3000):
            self.events.device_online("c1", "machine", "m1")
        self.events.account_made("c2")
        self.assertEqual(len(self.said), MOST + 1)
        self.clock.advance(MINUTE)
        self.assertEqual(self.said[MOST + 1 :], ["2,990 more in the last minute: device-online"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.events.device_online("c1", "machine", "m1")
        self.assertEqual(len(self.said), MOST + 3)

    def test_refusals(self) -> None:
        """Refusals are told soon, once a minute and by reason; the addresses are told elsewhere."""
        for _ in range(37):
            self.events.login_refused("token of another secret", "192.0.2.1")
        self.events.login_refused("wrong signature", "192.0.2.2")
        self.assertEqual(self.said, [])
        self.clock.advance(GATHERING)
        told = ["37 logins refused: token of another secret", "1 login refused: wrong signature"]
        self.assertEqual(self.said, told)
        self.events.login_refused("wrong signature", "192.0.2.2")
        self.clock.advance(MINUTE - 1)
        self.assertEqual(self.said, told)
        self.clock.advance(1)
        self.assertEqual(self.said[2:], ["1 login refused: wrong signature"])
        self.assertEqual(len(self.refusals.noted), 39)
        self.assertEqual(self.refusals.noted[-1], ("192.0.2.2", "wrong signature"))

    def test_soon_although_something_waits(self) -> None:
        """What is counted for the end of a minute does not keep refusals waiting."""
        self.events.account_made("c1")
        self.events.registration_refused("192.0.2.1")
        self.clock.advance(GATHERING)
        self.assertEqual(self.said[1:], ["1 registration refused: registration is closed"])

    def test_stop(self) -> None:
        """At the end everything is told, and no timer is left."""
        self.events.login_refused("not a token of ours", "192.0.2.1")
        self.events.tell()
        self.assertEqual(self.said, ["1 login refused: not a token of ours"])
        calls: list[Any] = self.clock.getDelayedCalls()
        self.assertEqual(calls, [])
