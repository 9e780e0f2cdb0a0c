"""The long-lived parts of a running server, as handlers see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from happy.api.parts import Parts

if TYPE_CHECKING:
    from happy.api.rate_limits import Limits
    from happy.outbound.expo import Expo
    from happy.outbound.github import GitHub
    from happy.outbound.objects import ObjectStore
    from happy.outbound.voice import VoiceProvider
    from happy.realtime.broadcaster import Broadcaster
    from happy.realtime.calls import Calls
    from happy.realtime.committer import Committer
    from happy.realtime.presence import Presence


class ContractTexts(Protocol):
    """The machine-readable contract, as JSON texts."""

    async def openapi(self) -> bytes:
        """The HTTP endpoints."""

    async def asyncapi(self) -> bytes:
        """The events on sockets."""


class ReadyOrNot(Protocol):
    """Whether new clients should come here."""

    async def reasons(self) -> Sequence[str]:
        """What speaks against it: some of ``database``, ``disk``, ``draining`` and ``secret``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server(Parts):
    """Everything that outlives a request. Built once by the composition root, passed explicitly."""

    documents: ContractTexts
    readiness: ReadyOrNot
    limits: Limits
    hub: Broadcaster
    committer: Committer
    presence: Presence
    calls: Calls
    objects: ObjectStore
    expo: Expo
    github: GitHub
    voice: VoiceProvider
