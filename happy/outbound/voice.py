"""Voice conversations: ElevenLabs lends the voice, RevenueCat knows who pays (http.md 6.16)."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Meta, Struct

from happy.base.codecs import decode_base64url, encode_base64url
from happy.outbound.http import CallFailed, Outgoing, Rejected

if TYPE_CHECKING:
    from happy.base.clocks import Now
    from happy.metrics import Metrics
    from happy.settings.config import Config

T = TypeVar("T")

ELEVENLABS = "https://api.elevenlabs.io"
REVENUECAT = "https://api.revenuecat.com"
PROJECT = "proj493735ad"
"""The RevenueCat project that the published app's subscription is sold in."""
PERIOD = timedelta(days=30)
PAGE = 100
"""Conversations that one look-up tells; also the most that anybody may have in a period."""

_LONGEST = 10**9
"""Seconds, of which a hundred conversations add up to a number that clients can read."""

_CONVERSATION = re.compile(r"conv_[A-Za-z0-9]+", re.ASCII)


class Spent(NamedTuple):
    """What somebody used of a period."""

    seconds: float
    conversations: int


class _Conversation(Struct, frozen=True):
    call_duration_secs: (
        Annotated[int, Meta(ge=0, le=_LONGEST)] | Annotated[float, Meta(ge=0, le=_LONGEST)] | None
    ) = None


class _Conversations(Struct, frozen=True):
    conversations: list[_Conversation] | None = None


class _Entitlements(Struct, frozen=True):
    items: list[Any] = []


class _Token(Struct, frozen=True):
    token: str

    def __post_init__(self) -> None:
        if not self.token:
            raise ValueError("an empty token")


class _Video(Struct, frozen=True):
    room: str


class _Claims(Struct, frozen=True):
    video: _Video


class VoiceProvider:
    """The voice account of a server's operator.

    ``user_secret`` is what provider-side user names are made from. ``fail_open`` counts a refused look-up
    as no use at all. Where there is no RevenueCat key, everybody is subscribed, or nobody, as
    ``for_all`` says. ``elevenlabs`` and ``revenuecat`` are addresses without trailing slashes.
    """

    def __init__(
        self,
        calls: Outgoing,
        sales: Outgoing,
        now: Now,
        *,
        user_secret: str,
        elevenlabs_key: str | None,
        revenuecat_key: str | None = None,
        revenuecat_project: str = PROJECT,
        fail_open: bool = True,
        for_all: bool = True,
        elevenlabs: str = ELEVENLABS,
        revenuecat: str = REVENUECAT,
    ) -> None:
        self._calls = calls
        self._sales = sales
        self._now = now
        self._user_secret = user_secret.encode()
        self._elevenlabs_key = elevenlabs_key
        self._revenuecat_key = revenuecat_key
        self._project = quote(revenuecat_project, safe="")
        self._fail_open = fail_open
        self._for_all = for_all
        self._elevenlabs = elevenlabs
        self._revenuecat = revenuecat

    @classmethod
    def from_config(
        cls, config: Config, reactor: Any, metrics: Metrics, now: Now = time.time
    ) -> VoiceProvider:
        """The accounts of the settings, at the providers' own addresses."""
        return cls(
            Outgoing("elevenlabs", reactor, metrics),
            Outgoing("revenuecat", reactor, metrics, timeout=5),
            now,
            user_secret=config.master_secret,
            elevenlabs_key=config.elevenlabs_api_key,
            revenuecat_key=config.revenuecat_api_key,
            revenuecat_project=config.revenuecat_project,
            fail_open=config.voice_fail_open,
            for_all=config.voice_for_all,
        )

    @property
    def configured(self) -> bool:
        """Whether there is a voice account."""
        return bool(self._elevenlabs_key)

    def user(self, account: str) -> str:
        """What an account is called at the provider."""
        digest = hmac.digest(self._user_secret, account.encode(), hashlib.sha256)
        return f"u_{encode_base64url(digest)}"

    async def spent(self, user: str) -> Spent:
        """What the user spent in the last 30 days. Raises CallFailed."""
        since = datetime.fromtimestamp(self._now(), UTC) - PERIOD
        query = {
            "user_id": user,
            "created_after": since.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "page_size": str(PAGE),
        }
        try:
            found = await self._ask("conversations", _Conversations, query)
        except Rejected:
            if self._fail_open:
                return Spent(0, 0)
            raise
        durations = [one.call_duration_secs or 0 for one in found.conversations or ()]
        return Spent(sum(durations), len(durations))

    async def subscribed(self, account: str) -> bool:
        """Whether the account pays. Any failure to find out counts as not paying."""
        if not self._revenuecat_key:
            return self._for_all
        customer = f"/v2/projects/{self._project}/customers/{quote(account, safe='')}"
        headers = {"Authorization": f"Bearer {self._revenuecat_key}"}
        try:
            found = await self._sales.ask(
                "GET", f"{self._revenuecat}{customer}/active_entitlements", _Entitlements, headers=headers
            )
        except CallFailed:
            return False
        return bool(found.items)

    async def token(self, agent: str, user: str) -> str:
        """A token for one conversation of the user with an agent. Raises CallFailed."""
        query = {"agent_id": agent, "participant_name": user}
        return (await self._ask("conversation/token", _Token, query)).token

    async def _ask(self, what: str, answer: type[T], query: dict[str, str]) -> T:
        url = f"{self._elevenlabs}/v1/convai/{what}"
        headers = {"xi-api-key": self._elevenlabs_key or ""}
        return await self._calls.ask("GET", url, answer, params=query, headers=headers)


def conversation_of(token: str) -> str | None:
    """The conversation that a token is for, from its unverified claims; None if there is none in it."""
    try:
        claims = msgspec.json.decode(decode_base64url(token.split(".")[1]), type=_Claims)
    except (IndexError, ValueError, RecursionError):
        return None
    found = _CONVERSATION.search(claims.video.room)
    return found and found[0]
