"""The push service's client against a service that answers as documented, and as not."""

from __future__ import annotations

import json
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from happy.metrics import Metrics
from happy.outbound.expo import DEADLINE, LARGEST, MOST_WAITING, Delivery, Expo, Notice
from happy.outbound.http import Outgoing
from tests.outbound.standin import Asked, StandIn, answer
from tests.outbound.test_http import Timed

NOTICE = Notice("Title", "Text", {"sessionId": "s", "kind": "done"})


def tickets(asked: Asked, **ticket: Any) -> bytes:
    """An answer with the same ticket for every message of the request."""
    return answer({"data": [ticket or {"status": "ok", "id": "1"} for _ in json.loads(asked.body)]})


class ExpoTests(TestCase):
    """What is sent, and what is made of the answer."""

    def service(self, script: Any, reactor_: Any = reactor) -> Expo:
        self.standin = standin = StandIn(script)
        self.addCleanup(lambda: Deferred.fromCoroutine(standin.close()))
        outgoing = Outgoing("expo", reactor_, Metrics(CollectorRegistry()))
        return Expo(outgoing, f"{self.standin.url}/push")

    async def test_message(self) -> None:
        """A message has the members that the service documents, and nothing else."""
        expo = self.service(lambda asked, transport: tickets(asked))
        self.assertEqual(await expo.send("ann", ["a", "b"], NOTICE), [Delivery("a"), Delivery("b")])
        [asked] = self.standin.asked
        self.assertEqual((asked.method, asked.path), ("POST", "/push"))
        self.assertEqual(asked.headers["content-type"], "application/json")
        shared = {
            "title": "Title",
            "body": "Text",
            "data": NOTICE.data,
            "sound": "default",
            "channelId": "messages",
        }
        self.assertEqual(json.loads(asked.body), [{"to": "a", **shared}, {"to": "b", **shared}])

    async def test_batches(self) -> None:
        """A hundred messages go into one call; the answers keep the order of the devices."""
        expo = self.service(lambda asked, transport: tickets(asked))
        tokens = [f"t{number}" for number in range(205)]
        deliveries = await expo.send("ann", tokens, NOTICE)
        self.assertEqual([delivery.token for delivery in deliveries], tokens)
        self.assertEqual(sorted(len(json.loads(asked.body)) for asked in self.standin.asked), [5, 100, 100])

    async def test_no_devices(self) -> None:
        """Without devices nothing is sent."""
        expo = self.service(lambda asked, transport: None)
        self.assertEqual(await expo.send("ann", [], NOTICE), [])
        self.assertEqual(self.standin.asked, [])

    async def test_refused_messages(self) -> None:
        """Each refused message has the most exact error there is; a device that is gone is marked."""
        refused = [
            {"status": "error", "message": "m", "details": {"error": "DeviceNotRegistered"}},
            {"status": "error", "message": "m", "details": {"error": "MessageTooBig"}},
            {"status": "error", "message": "m", "details": {"error": 5}},
            {"status": "error", "message": "m" * 5000},
            {"status": "error", "details": "?"},
            {"status": "ok", "id": "1"},
        ]
        expo = self.service(lambda asked, transport: answer({"data": refused}))
        deliveries = await expo.send("ann", list("abcdef"), NOTICE)
        errors = ["DeviceNotRegistered", "MessageTooBig", "m", "m" * 200, "unknown", None]
        self.assertEqual([delivery.error for delivery in deliveries], errors)
        self.assertEqual([delivery.gone for delivery in deliveries], [True] + [False] * 5)

    async def test_missing_tickets(self) -> None:
        """A device without a ticket was not notified (D3); tickets too many are ignored."""
        expo = self.service(lambda asked, transport: answer({"data": [{"status": "ok"}]}))
        self.assertEqual(
            await expo.send("ann", ["a", "b"], NOTICE), [Delivery("a"), Delivery("b", "unknown")]
        )
        self.standin.script = lambda asked, transport: answer({"data": [{"status": "ok"}] * 3})
        self.assertEqual(await expo.send("ann", ["a"], NOTICE), [Delivery("a")])

    async def test_unusable_answers(self) -> None:
        """Whatever comes instead of tickets is an error of every device in the batch."""
        cases = {
            answer({"errors": []}, status=503): "HTTP 503",
            answer({}, status=301, headers={"Location": "http://127.0.0.1:1/"}): "HTTP 301",
            answer({"errors": [{"code": "X"}]}): "Network error",
            answer([]): "Network error",
            answer({"data": {"status": "ok"}}): "Network error",
            answer({"data": [{"state": "ok"}]}): "Network error",
            answer(b"<html>"): "Network error",
            answer(b"[" * 100_000): "Network error",
            answer(b" " * 2_000_000): "Network error",
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{": "Network error",
            b"nonsense\r\n\r\n": "Network error",
        }
        for raw, error in cases.items():

            def script(asked: Asked, transport: Any, raw: bytes = raw) -> None:
                transport.write(raw)
                transport.loseConnection()

            expo = self.service(script)
            self.assertEqual(await expo.send("ann", ["a"], NOTICE), [Delivery("a", error)], raw[:60])

    async def test_deadline(self) -> None:
        """All batches share one deadline, however slow the service is."""
        timed = Timed()
        silent: Deferred[None] = Deferred()
        expo = self.service(lambda asked, transport: silent.callback(None), timed)
        sending = Deferred.fromCoroutine(expo.send("ann", ["t"] * 101, NOTICE))
        await silent
        timed.clock.advance(DEADLINE)
        self.assertEqual(await sending, [Delivery("t", "Network error")] * 101)

    async def test_too_much_data(self) -> None:
        """What the service would refuse for its size is not sent: a short text, a thousand times."""
        expo = self.service(lambda asked, transport: tickets(asked))
        fits = {"x": "y" * (LARGEST - 8)}
        self.assertEqual(await expo.send("ann", ["a"], Notice("T", "B", fits)), [Delivery("a")])
        large = Notice("T", "B", {"x": "y" * (LARGEST - 7)})
        self.assertEqual(
            await expo.send("ann", ["a", "b"], large), [Delivery(token, "MessageTooBig") for token in "ab"]
        )
        self.assertEqual(len(self.standin.asked), 1)

    async def test_one_at_a_time(self) -> None:
        """An account has one call under way, and a few that wait; others do not wait for it."""
        asked: list[Any] = []
        expo = self.service(lambda request, transport: asked.append(transport))
        sending = [Deferred.fromCoroutine(expo.send("ann", ["a"], NOTICE)) for _ in range(MOST_WAITING + 2)]
        refused = self.successResultOf(sending.pop())
        self.assertEqual(refused, [Delivery("a", "MessageRateExceeded")])
        others = Deferred.fromCoroutine(expo.send("bob", ["b"], NOTICE))
        served = 0
        while served < len(sending) + 1:
            await deferLater(reactor, 0.005)
            self.assertLessEqual(len(asked), 2)
            while asked:
                asked.pop().write(answer({"data": [{"status": "ok"}]}))
                served += 1
        self.assertEqual(await gatherResults([*sending, others]), [[Delivery("a")]] * 11 + [[Delivery("b")]])
