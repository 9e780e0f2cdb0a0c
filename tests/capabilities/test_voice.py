"""Voice, with a stand-in for both providers on a real socket."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred, gatherResults

from happy.base.codecs import encode_base64url
from happy.settings.config import Config
from tests.capabilities.asking import Answered, CapabilityCase
from tests.outbound.standin import Asked, StandIn, answer
from tests.outbound.voices import voice_provider

SPENT = "/v1/convai/conversations"
TOKEN = "/v1/convai/conversation/token"
ROOM = encode_base64url(b'{"video": {"room": "room_conv_01x"}}')


class VoiceCase(CapabilityCase):
    """``self.answers`` are the providers' answers by path; every other path is RevenueCat's."""

    async def setUp(self) -> None:
        await super().setUp()
        self.standin = standin = StandIn(self.reply)
        self.addCleanup(lambda: Deferred.fromCoroutine(standin.close()))
        self.answers: dict[str, bytes | None] = {
            SPENT: answer({"conversations": []}),
            TOKEN: answer({"token": f"e30.{ROOM}.x"}),
        }
        self.entitlements: bytes | None = answer({"items": []})
        self.provide()

    def reply(self, asked: Asked, transport: Any) -> bytes | None:
        found = self.answers.get(asked.path, self.entitlements)
        if found is None:
            transport.loseConnection()
        return found

    def provide(self, **options: Any) -> None:
        """Put a provider with these options into the server."""
        self.change(voice=voice_provider(self.standin, time.time, **options))

    def spend(self, seconds: float, conversations: int = 1) -> None:
        """From now on everybody has used that much."""
        used = [{"call_duration_secs": seconds}] + [{}] * (conversations - 1)
        self.answers[SPENT] = answer({"conversations": used})

    async def start(self, agent: Any = "agent_1") -> Answered:
        return await self.ask("POST", "/v1/voice/conversations", {"agentId": agent}, account="acc")

    async def usage(self) -> Answered:
        return await self.ask("GET", "/v1/voice/usage", account="acc")

    def failed(self, answered: Answered, error: str) -> None:
        self.assertEqual((answered.status, answered.json), (500, {"error": error}))


class ConversationTests(VoiceCase):
    async def test_granted(self) -> None:
        """Within the free allowance, a token and its conversation are handed out."""
        self.spend(1199.5)
        answered = await self.start()
        self.assertEqual(answered.status, 200)
        self.assertEqual(
            answered.json,
            {
                "allowed": True,
                "conversationToken": f"e30.{ROOM}.x",
                "conversationId": "conv_01x",
                "agentId": "agent_1",
                "elevenUserId": self.server.voice.user("acc"),
                "usedSeconds": 1199.5,
                "limitSeconds": 1200,
            },
        )
        self.assertNotIn("/v2", [asked.path[:3] for asked in self.standin.asked])

    async def test_limits(self) -> None:
        """Denials come in the contract's order, each with its limit."""
        for seconds, conversations, reason, limit in (
            (1200, 1, "subscription_required", 1200),
            (18_000, 1, "voice_hard_limit_reached", 18_000),
            (18_000, 100, "voice_conversation_limit_reached", 18_000),
            (0, 100, "voice_conversation_limit_reached", 18_000),
        ):
            self.spend(seconds, conversations)
            answered = await self.start()
            self.assertEqual(answered.status, 200)
            self.assertEqual(
                answered.json,
                {
                    "allowed": False,
                    "reason": reason,
                    "usedSeconds": seconds,
                    "limitSeconds": limit,
                    "agentId": "agent_1",
                },
            )
        self.assertNotIn(TOKEN, [asked.path for asked in self.standin.asked])

    async def test_subscriber(self) -> None:
        """A subscriber goes on after the free allowance."""
        self.spend(1200)
        self.entitlements = answer({"items": [{}]})
        answered = (await self.start()).json
        self.assertEqual((answered["allowed"], answered["limitSeconds"]), (True, 18_000))

    async def test_no_seller(self) -> None:
        """Without RevenueCat everybody goes on, or nobody, as the operator decided."""
        self.spend(1200)
        for for_all in (True, False):
            self.provide(revenuecat_key=None, for_all=for_all)
            self.assertEqual((await self.start()).json["allowed"], for_all)

    async def test_not_configured(self) -> None:
        """Without a voice account the endpoints say so, but check the body first."""
        self.provide(elevenlabs_key=None)
        self.failed(await self.start(), "ELEVENLABS_API_KEY not configured")
        self.failed(await self.usage(), "ELEVENLABS_API_KEY not configured")
        self.assertEqual((await self.start(5)).status, 400)

    async def test_agents(self) -> None:
        """The operator may name the agents that can be used (D27)."""
        self.change(config=Config(voice_agents=("agent_1", "agent_2")))
        self.assertEqual((await self.start("agent_2")).status, 200)
        answered = await self.start("agent_3")
        self.assertEqual((answered.status, answered.json), (403, {"error": "Voice agent not allowed"}))

    async def test_use_unknown(self) -> None:
        """A refused look-up counts as no use by default; any other failure is an error."""
        self.answers[SPENT] = answer({}, 401)
        self.assertEqual((await self.start()).json["usedSeconds"], 0)
        self.provide(fail_open=False)
        self.failed(await self.start(), "Internal Server Error")
        for reply in (None, answer(b"<html>"), answer({"conversations": 5})):
            self.answers[SPENT] = reply
            self.failed(await self.start(), "Internal Server Error")
            self.failed(await self.usage(), "Failed to get voice usage")

    async def test_no_credentials(self) -> None:
        """Without a token there are no credentials; without a conversation in it there is none."""
        for reply in (None, answer({}, 403), answer({"token": ""}), answer(b"token")):
            self.answers[TOKEN] = reply
            self.failed(await self.start(), "Failed to get voice credentials")
        self.answers[TOKEN] = answer({"token": "e30.e30.x"})
        self.failed(await self.start(), "Failed to get conversation ID")


class UsageTests(VoiceCase):
    async def test_one_at_a_time(self) -> None:
        """Of an account one request is under way: those of others need not wait for a slow provider."""
        both: Deferred[None] = Deferred()

        def keep_silent(asked: Asked, transport: Any) -> None:
            if len(self.standin.asked) == 2:
                both.callback(None)

        self.standin.script = keep_silent
        asking = [Deferred.fromCoroutine(self.usage()) for _ in range(10)]
        asking.append(Deferred.fromCoroutine(self.start()))
        asking.append(Deferred.fromCoroutine(self.ask("GET", "/v1/voice/usage", account="other")))
        await both
        users = [parse_qs(asked.target.partition("?")[2])["user_id"][0] for asked in self.standin.asked]
        self.assertEqual(sorted(users), sorted(map(self.server.voice.user, ("acc", "other"))))
        self.standin.hang_up()
        self.assertEqual({answered.status for answered in await gatherResults(asking)}, {500})

    async def test_usage(self) -> None:
        """Use and limits are told, the higher limit to subscribers."""
        self.spend(70, 3)
        expected = {
            "usedSeconds": 70,
            "limitSeconds": 1200,
            "conversationCount": 3,
            "conversationLimit": 100,
            "elevenUserId": self.server.voice.user("acc"),
        }
        answered = await self.usage()
        self.assertEqual((answered.status, answered.json), (200, expected))
        self.entitlements = answer({"items": [{}]})
        self.assertEqual((await self.usage()).json, expected | {"limitSeconds": 18_000})
        self.entitlements = None
        self.assertEqual((await self.usage()).json, expected)
