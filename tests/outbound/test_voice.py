"""The voice providers' interfaces, as documented and otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from happy.base.codecs import encode_base64url
from happy.metrics import Metrics
from happy.outbound.http import CallFailed
from happy.outbound.voice import Spent, VoiceProvider, conversation_of
from happy.settings.config import Config
from tests.outbound.standin import Asked, StandIn, answer
from tests.outbound.voices import voice_provider

HOSTILE = "a&user_id=other#/../%2e%2e?x=\u00e9 \r\n"


def token(claims: bytes) -> str:
    """An unsigned token with these claims."""
    return f"e30.{encode_base64url(claims)}.sig"


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        ("room_agent_1_conv_01abcXYZ", "conv_01abcXYZ"),
        ("conv_a-conv_b", "conv_a"),
        ("conv_", None),
        ("room", None),
        ("conv_\u0661", None),
    ],
)
def test_conversation(room: str, expected: str | None) -> None:
    """The conversation is the first thing in the room's name that looks like one."""
    assert conversation_of(token(b'{"video": {"room": "%s"}}' % room.encode())) == expected


@pytest.mark.parametrize(
    "text",
    ["", "x", "a.b.c", "..", token(b"[]"), token(b"{}"), token(b'{"video": {"room": 5}}'), token(b"\xff")],
)
def test_no_conversation(text: str) -> None:
    """A text that is no such token has no conversation."""
    assert conversation_of(text) is None


@given(st.text())
def test_any_token_is_survived(text: str) -> None:
    """Nothing that a provider calls a token breaks the search."""
    assert conversation_of(text) is None


class VoiceTests(TestCase):
    def provider(self, script: Any, **options: Any) -> VoiceProvider:
        self.standin = standin = StandIn(script)
        self.addCleanup(lambda: Deferred.fromCoroutine(standin.close()))
        self.clock = Clock()
        self.clock.advance(1_790_000_000.25)
        return voice_provider(standin, self.clock.seconds, **options)

    def replying(self, body: Any, status: int = 200, **options: Any) -> VoiceProvider:
        return self.provider(lambda asked, _: answer(body, status), **options)

    def asked(self) -> Asked:
        (asked,) = self.standin.asked
        return asked

    async def test_user(self) -> None:
        """The provider's name of an account is the contract's."""
        user = self.replying({}).user("cmwsujs74000c0t7dtrf2b96j")
        self.assertEqual(user, "u_tRzS3MGzk-Q957BnFN3ZmhKBFKYxjR-8QrlbksiOSQI")

    def test_configured(self) -> None:
        """One key switches voice on."""
        metrics = Metrics(CollectorRegistry())
        self.assertFalse(VoiceProvider.from_config(Config(), reactor, metrics).configured)
        config = Config(elevenlabs_api_key="k")
        self.assertTrue(VoiceProvider.from_config(config, reactor, metrics).configured)

    async def test_spent(self) -> None:
        """Durations of the last 30 days are added up, unknown ones count as nothing."""
        conversations = [
            {"call_duration_secs": 10},
            {"call_duration_secs": 2.5},
            {},
            {"call_duration_secs": None},
        ]
        provider = self.replying({"conversations": conversations, "has_more": False})
        self.assertEqual(await provider.spent("u_&x"), Spent(12.5, 4))
        self.assertEqual(
            self.asked().target,
            "/v1/convai/conversations?user_id=u_%26x&created_after=2026-08-22T14%3A13%3A20.250Z&page_size=100",
        )
        self.assertEqual(self.asked().headers["xi-api-key"], "xi")

    async def test_no_conversations(self) -> None:
        """Somebody without conversations has spent nothing, however that is said."""
        for body in ({"conversations": []}, {"conversations": None}, {}):
            self.assertEqual(await self.replying(body).spent("u"), Spent(0, 0))

    async def test_refused_look_up(self) -> None:
        """A refused look-up counts as no use, unless the operator wants otherwise (D27)."""
        self.assertEqual(await self.replying({}, 401).spent("u"), Spent(0, 0))
        with self.assertRaises(CallFailed):
            await self.replying({}, 401, fail_open=False).spent("u")

    async def test_broken_look_up(self) -> None:
        """Anything else that goes wrong with a look-up is an error in any case."""
        unusable = [b"<html>", b"null", [], {"conversations": 5}, {"conversations": [None]}]
        unusable += [{"conversations": [{"call_duration_secs": odd}]} for odd in ("1", -1, -0.5, 1e300, True)]
        for body in unusable:
            with self.assertRaises(CallFailed):
                await self.replying(body).spent("u")
        with self.assertRaises(CallFailed):
            await self.provider(lambda asked, transport: transport.loseConnection()).spent("u")

    async def test_subscribed(self) -> None:
        """An account with any entitlement is subscribed."""
        provider = self.replying({"items": [{"entitlement_id": "pro"}]})
        self.assertTrue(await provider.subscribed("acc/../x"))
        self.assertEqual(
            self.asked().target, "/v2/projects/proj493735ad/customers/acc%2F..%2Fx/active_entitlements"
        )
        self.assertEqual(self.asked().headers["authorization"], "Bearer rc")

    async def test_not_subscribed(self) -> None:
        """No entitlements, and whatever goes wrong, count as not subscribed."""
        for body, status in (({"items": []}, 200), ({}, 200), ({"items": [1]}, 404), (b"{", 200), ([], 200)):
            self.assertFalse(await self.replying(body, status).subscribed("a"))

    async def test_no_seller(self) -> None:
        """Without a RevenueCat key the operator's word holds for everybody, and nobody is asked."""
        for for_all in (True, False):
            provider = self.replying({"items": [1]}, revenuecat_key=None, for_all=for_all)
            self.assertEqual(await provider.subscribed("a"), for_all)
            self.assertEqual(self.standin.asked, [])

    async def test_token(self) -> None:
        """A token is asked for by agent and user, neither of which can say more than that (D27)."""
        provider = self.replying({"token": "t.o.k"})
        self.assertEqual(await provider.token(HOSTILE, "u_1"), "t.o.k")
        self.assertEqual(
            self.asked().target,
            "/v1/convai/conversation/token?agent_id=a%26user_id%3Dother%23%2F..%2F%252e%252e%3Fx%3D%C3%A9"
            "+%0D%0A&participant_name=u_1",
        )

    async def test_no_token(self) -> None:
        """A refusal, or an answer without a token, is a failure."""
        for body, status in (({"token": "x"}, 403), ({}, 200), ({"token": ""}, 200), ({"token": 5}, 200)):
            with self.assertRaises(CallFailed):
                await self.replying(body, status).token("a", "u")
