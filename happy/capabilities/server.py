"""The long-lived parts of a running server, as handlers see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.api.rate_limits import Limits
    from happy.base.bounds import Budget
    from happy.base.clocks import Now
    from happy.base.threads import Threads
    from happy.contract.documents import Documents
    from happy.keys.tokens import Tokens
    from happy.keys.vault import Vault
    from happy.metrics import Metrics
    from happy.outbound.expo import Expo
    from happy.outbound.github import GitHub
    from happy.outbound.objects import ObjectStore
    from happy.outbound.voice import VoiceProvider
    from happy.realtime.calls import Calls
    from happy.realtime.committer import Committer
    from happy.realtime.hub import Hub
    from happy.realtime.presence import Presence
    from happy.settings.config import Config
    from happy.storage.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Everything that outlives a request. Built once by the tap, passed explicitly."""

    config: Config
    documents: Documents
    clock: IReactorTime
    """Deadlines and durations, on a clock that never goes back."""
    now: Now
    """Times that are stored or shown."""
    limits: Limits
    memory: Budget
    """Bytes that clients make the server keep, by account or, before the login, by address."""
    metrics: Metrics
    database: Database
    tokens: Tokens
    vault: Vault
    hub: Hub
    committer: Committer
    presence: Presence
    calls: Calls
    objects: ObjectStore
    files: Threads
    """For reading stored files."""
    pages: Threads
    """For finding and reading those of the web app, which may be on another file system."""
    expo: Expo
    github: GitHub
    voice: VoiceProvider
