"""Permission to talk to a voice agent, and how much of it is left (http.md 6.16)."""

from __future__ import annotations

from typing import Literal

from happy.api.declare import Caller, Capability
from happy.api.structs import Body, Key, Reply
from happy.base.errors import Refusal
from happy.capabilities._turns import turn
from happy.capabilities.server import Server
from happy.outbound.http import CallFailed
from happy.outbound.voice import PAGE, Spent, conversation_of

FREE_SECONDS = 1200
HARD_SECONDS = 18_000
MOST_CONVERSATIONS = PAGE

voice = Capability("voice")


class VoiceNotConfigured(Refusal):
    status = 500
    error = "ELEVENLABS_API_KEY not configured"


class AgentNotAllowed(Refusal):
    """The operator names the agents that may be used, and this is none of them."""

    status = 403
    error = "Voice agent not allowed"


class UseUnknown(Refusal):
    status = 500
    error = "Internal Server Error"


class NoCredentials(Refusal):
    status = 500
    error = "Failed to get voice credentials"


class NoConversation(Refusal):
    status = 500
    error = "Failed to get conversation ID"


class NoUsage(Refusal):
    status = 500
    error = "Failed to get voice usage"


class Start(Body):
    """``agent_id`` names an agent of the voice provider."""

    agent_id: Key


class Granted(Reply):
    """``used_seconds`` and ``limit_seconds`` are of the last 30 days."""

    allowed: Literal[True] = True
    conversation_token: str
    conversation_id: str
    agent_id: str
    eleven_user_id: str
    used_seconds: int | float
    limit_seconds: int


class VoiceDenied(Reply):
    allowed: Literal[False] = False
    reason: Literal["voice_conversation_limit_reached", "voice_hard_limit_reached", "subscription_required"]
    used_seconds: int | float
    limit_seconds: int
    agent_id: str


class VoiceUsage(Reply):
    """What was used in the last 30 days, and what may be."""

    used_seconds: int | float
    limit_seconds: int
    conversation_count: int
    conversation_limit: int = MOST_CONVERSATIONS
    eleven_user_id: str


@voice.post(
    "/v1/voice/conversations",
    refuses=(VoiceNotConfigured, AgentNotAllowed, UseUnknown, NoCredentials, NoConversation),
    failure={"error": "Internal Server Error"},
)
async def start(caller: Caller, body: Start, server: Server) -> Granted | VoiceDenied:
    """Credentials for one conversation, unless the allowance is used up."""
    user = _user(caller, server)
    if server.config.voice_agents and body.agent_id not in server.config.voice_agents:
        raise AgentNotAllowed
    async with turn(server, "voice", caller.account):
        return await _begin(caller, body, server, user)


async def _begin(caller: Caller, body: Start, server: Server, user: str) -> Granted | VoiceDenied:
    try:
        spent = await server.voice.spent(user)
    except CallFailed:
        raise UseUnknown from None
    if (denied := await _denied(caller, body, server, spent)) is not None:
        return denied
    token = await _token(server, body.agent_id, user)
    conversation = conversation_of(token)
    if conversation is None:
        raise NoConversation
    return Granted(
        conversation_token=token,
        conversation_id=conversation,
        agent_id=body.agent_id,
        eleven_user_id=user,
        used_seconds=spent.seconds,
        limit_seconds=FREE_SECONDS if spent.seconds < FREE_SECONDS else HARD_SECONDS,
    )


@voice.get(
    "/v1/voice/usage", refuses=(VoiceNotConfigured, NoUsage), failure={"error": "Failed to get voice usage"}
)
async def usage(caller: Caller, server: Server) -> VoiceUsage:
    """How much of the allowance is used."""
    user = _user(caller, server)
    async with turn(server, "voice", caller.account):
        try:
            spent = await server.voice.spent(user)
        except CallFailed:
            raise NoUsage from None
        subscribed = await server.voice.subscribed(caller.account)
    return VoiceUsage(
        used_seconds=spent.seconds,
        limit_seconds=HARD_SECONDS if subscribed else FREE_SECONDS,
        conversation_count=spent.conversations,
        eleven_user_id=user,
    )


def _user(caller: Caller, server: Server) -> str:
    if not server.voice.configured:
        raise VoiceNotConfigured
    return server.voice.user(caller.account)


async def _denied(caller: Caller, body: Start, server: Server, spent: Spent) -> VoiceDenied | None:
    """Why there is no further conversation, or None."""
    reason: Literal["voice_conversation_limit_reached", "voice_hard_limit_reached", "subscription_required"]
    limit = HARD_SECONDS
    if spent.conversations >= MOST_CONVERSATIONS:
        reason = "voice_conversation_limit_reached"
    elif spent.seconds >= HARD_SECONDS:
        reason = "voice_hard_limit_reached"
    elif spent.seconds >= FREE_SECONDS and not await server.voice.subscribed(caller.account):
        reason, limit = "subscription_required", FREE_SECONDS
    else:
        return None
    return VoiceDenied(reason=reason, used_seconds=spent.seconds, limit_seconds=limit, agent_id=body.agent_id)


async def _token(server: Server, agent: str, user: str) -> str:
    try:
        return await server.voice.token(agent, user)
    except CallFailed:
        raise NoCredentials from None
