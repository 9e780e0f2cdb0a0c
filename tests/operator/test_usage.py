"""Who has how much, and whether notifications arrive."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from happy.outbound import expo
from tests.operator.case import OperatorCase
from tests.outbound.standin import Asked, StandIn, answer


def deliver(asked: Asked, conversation: Any) -> bytes:
    """The push service, which does not know the device called gone."""
    tickets = [
        {"status": "ok"}
        if message["to"] != "gone"
        else {"status": "error", "details": {"error": "DeviceNotRegistered"}}
        for message in json.loads(asked.body)
    ]
    return answer({"data": tickets})


class UsageTests(OperatorCase):
    """Against a server that runs."""

    async def test_usage(self) -> None:
        """Whoever has most comes first, with rows and files."""
        little, much = await self.new_phone(), await self.new_phone()
        for phone, texts in ((little, 1), (much, 5)):
            session = await phone.create_session("a", {})
            await phone.send_messages(session, [{"text": "hello"}] * texts)
        await much.upload(session, b"x" * 1000)
        found = await self.said("usage")
        self.assertEqual([one["id"] for one in found[:2]], [much.id, little.id])
        self.assertEqual((found[0]["rows"], found[0]["files"]), (6, 1))
        self.assertGreater(found[0]["bytes"], found[0]["fileBytes"] + 500)
        self.assertEqual(await self.said("usage", "--top", "1"), found[:1])
        self.assertIn(much.id, (await self.happyctl("usage")).out)

    async def test_push(self) -> None:
        """Each device is told with what came of it; one that is gone makes the command fail."""
        service = StandIn(deliver)
        self.addCleanup(lambda: Deferred.fromCoroutine(service.close()))
        self.patch(self.running.server.expo, "_url", service.url)
        phone = await self.new_phone()
        ran = await self.happyctl("push", "test", phone.id)
        self.assertEqual((ran.status, ran.out), (1, "The account has no devices to notify.\n"))
        await phone.call("POST", "/v1/push-tokens", {"token": "here"})
        self.assertEqual(
            [one["outcome"] for one in (await self.said("push", "test", phone.id))["results"]], ["sent"]
        )
        await phone.call("POST", "/v1/push-tokens", {"token": "gone"})
        ran = await self.happyctl("push", "test", phone.id, "--json")
        outcomes = {one["token"]: one["outcome"] for one in ran.document["results"]}
        self.assertEqual((ran.status, outcomes), (1, {"here": "sent", "gone": "DeviceNotRegistered"}))
        self.assertLess(max(one["ms"] for one in ran.document["results"]), expo.DEADLINE * 1000)
