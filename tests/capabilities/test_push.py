"""Device tokens and notifications through the pipeline, with a push service on a real socket."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from happy.outbound.expo import Expo
from happy.outbound.http import Outgoing
from happy.realtime.updates import SessionEvent, watchers_of_session
from happy.storage import push_tokens
from tests.capabilities.asking import CapabilityCase
from tests.outbound.standin import StandIn, answer

EVENT = {"kind": "done", "title": "Finished", "body": "All done"}
GONE = {"status": "error", "message": "m", "details": {"error": "DeviceNotRegistered"}}
OK = {"status": "ok", "id": "1"}


class TokenTests(CapabilityCase):
    """The endpoints of device tokens."""

    async def setUp(self) -> None:
        await super().setUp()
        self.account = await self.new_account()

    async def register(self, token: str, account: str | None = None) -> Any:
        body = {"token": token}
        return (await self.ask("POST", "/v1/push-tokens", body, account=account or self.account)).json

    async def tokens(self, account: str | None = None) -> list[Any]:
        answer = await self.ask("GET", "/v1/push-tokens", account=account or self.account)
        listed: list[Any] = answer.json["tokens"]
        return listed

    async def test_story(self) -> None:
        """Registered once per device, listed with all members, removed whether it exists or not."""
        for token in ("one", "two[2]", "one"):
            self.assertEqual(await self.register(token), {"success": True})
        [first, second] = sorted(await self.tokens(), key=lambda entry: entry["token"])
        self.assertEqual(set(first), {"id", "token", "createdAt", "updatedAt"})
        self.assertEqual((first["token"], second["token"]), ("one", "two[2]"))
        for _ in range(2):
            gone = await self.ask("DELETE", "/v1/push-tokens/two%5B2%5D", account=self.account)
            self.assertEqual((gone.status, gone.json), (200, {"success": True}))
        self.assertEqual([entry["token"] for entry in await self.tokens()], ["one"])

    async def test_changes_hands(self) -> None:
        """A device belongs to the account that registered it last (D26)."""
        other = await self.new_account()
        await self.register("device")
        await self.register("device", other)
        self.assertEqual(await self.tokens(), [])
        self.assertEqual([entry["token"] for entry in await self.tokens(other)], ["device"])

    async def test_failures(self) -> None:
        """What cannot be stored gets the endpoint's own failure."""
        self.assertEqual(await self.register("nul \0"), {"error": "Failed to register push token"})
        self.assertEqual(await self.register("x", "nobody"), {"error": "Failed to register push token"})

    async def test_bounds(self) -> None:
        """A token has a length, and an account so many devices: those it refreshed last."""
        refused = await self.ask("POST", "/v1/push-tokens", {"token": "x" * 501}, account=self.account)
        self.assertEqual(refused.status, 400)
        await self.register("first")
        for number in range(push_tokens.MOST - 1):
            await self.register(f"{number}")
        await self.register("first")
        await self.register("x" * 500)
        names = {entry["token"] for entry in await self.tokens()}
        self.assertEqual(names, {"first", "x" * 500, *map(str, range(1, push_tokens.MOST - 1))})


class AnnounceTests(CapabilityCase):
    """POST /v1/sessions/:sessionId/push-event."""

    async def setUp(self) -> None:
        await super().setUp()
        self.standin = StandIn(lambda asked, transport: answer({"data": [OK] * len(json.loads(asked.body))}))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.standin.close()))
        outgoing = Outgoing("expo", reactor, self.server.metrics)
        self.change(expo=Expo(outgoing, self.standin.url))
        self.account = await self.new_account()
        self.session = await self.new_session(self.account)

    async def announce(self, **changes: Any) -> Any:
        path = f"/v1/sessions/{self.session}/push-event"
        return (await self.ask("POST", path, {**EVENT, **changes}, account=self.account)).json

    async def register(self, *tokens: str) -> None:
        for token in tokens:
            await self.ask(
                "POST", "/v1/push-tokens", {"token": f"{self.account}-{token}"}, account=self.account
            )

    def answers(self, *tickets: Any) -> None:
        self.standin.script = lambda asked, transport: answer({"data": tickets})

    async def test_without_devices(self) -> None:
        """Connected clients hear the event although there is nobody to push to."""
        self.assertEqual(await self.announce(), {"success": True, "result": "no_tokens"})
        [(audience, body)] = self.hub.signals
        self.assertEqual(audience, watchers_of_session(self.account, self.session))
        self.assertIsInstance(body, SessionEvent)
        self.assertEqual((body.session_id, body.kind, body.title), (self.session, "done", "Finished"))

    async def test_sent(self) -> None:
        """Every device is notified; the session and the kind are not the client's to choose (D26)."""
        await self.register("one", "two")
        data = {"sessionId": "forged", "kind": "forged", "more": [1]}
        self.assertEqual(await self.announce(data=data), {"success": True, "result": "sent", "tokens": 2})
        [asked] = self.standin.asked
        message = json.loads(asked.body)[0]
        self.assertEqual(message["data"], {"sessionId": self.session, "kind": "done", "more": [1]})
        self.assertEqual((message["title"], message["body"]), ("Finished", "All done"))

    async def test_too_much_data(self) -> None:
        """Data that no push service takes is told as that service tells it; the event is announced."""
        await self.register("one", "two")
        expected = {"result": "failed", "reason": "MessageTooBig, MessageTooBig"}
        self.assertEqual(await self.announce(data={"x": "y" * 900_000}), {"success": True, **expected})
        self.assertEqual((len(self.hub.signals), self.standin.asked), (1, []))

    async def test_somebody_is_looking(self) -> None:
        """While a client is in view nothing is pushed, but clients hear the event."""
        await self.register("one")
        self.hub.viewers.add(self.account)
        expected = {"success": True, "result": "suppressed", "reason": "active-ui-client"}
        self.assertEqual(await self.announce(), expected)
        self.assertEqual((len(self.hub.signals), self.standin.asked), (1, []))

    async def test_gone_devices(self) -> None:
        """A device that the service does not know any more is forgotten (D3)."""
        await self.register("one", "two")
        self.answers(GONE, OK)
        expected = {"result": "partial", "tokens": 2, "delivered": 1, "reason": "DeviceNotRegistered"}
        self.assertEqual(await self.announce(), {"success": True, **expected})
        left = (await self.ask("GET", "/v1/push-tokens", account=self.account)).json["tokens"]
        self.assertEqual(len(left), 1)
        self.answers(GONE)
        expected = {"result": "failed", "reason": "DeviceNotRegistered"}
        self.assertEqual(await self.announce(), {"success": True, **expected})
        self.assertEqual(await self.announce(), {"success": True, "result": "no_tokens"})

    async def test_service_fails(self) -> None:
        """A failing service is reported for each device, and no device is forgotten."""
        await self.register("one", "two")
        self.standin.script = lambda asked, transport: answer({}, status=500)
        expected = {"success": True, "result": "failed", "reason": "HTTP 500, HTTP 500"}
        self.assertEqual(await self.announce(), expected)
        self.answers(OK)
        expected = {"result": "partial", "tokens": 2, "delivered": 1, "reason": "unknown"}
        self.assertEqual(await self.announce(), {"success": True, **expected})
        outcomes = {
            outcome: self.server.metrics.registry.get_sample_value("happy_push_total", {"outcome": outcome})
            for outcome in ("failed", "partial")
        }
        self.assertEqual(outcomes, {"failed": 1.0, "partial": 1.0})

    async def test_unexpected_errors(self) -> None:
        """Whatever else goes wrong is an outcome too: the event was announced."""
        await self.register("one")
        self.change(expo=None)
        expected = {"success": True, "result": "failed", "reason": "Internal error"}
        self.assertEqual(await self.announce(), expected)
        self.assertEqual(len(self.hub.signals), 1)

    async def test_foreign_session(self) -> None:
        """A session of somebody else, or of nobody, is not found, and nobody hears anything."""
        self.account = await self.new_account()
        self.assertEqual(await self.announce(), {"error": "Session not found"})
        self.session = "none"
        self.assertEqual(await self.announce(), {"error": "Session not found"})
        self.assertEqual(self.hub.signals, [])

    async def test_bad_bodies(self) -> None:
        """Kinds, lengths in UTF-16 units and the type of the data are checked."""
        for changes in (
            {"kind": "other"},
            {"title": ""},
            {"title": "x" * 201},
            {"title": "😀" * 101},
            {"body": "x" * 501},
            {"data": None},
            {"data": []},
        ):
            self.assertEqual((await self.announce(**changes))["statusCode"], 400, changes)
        self.assertEqual(self.hub.signals, [])
