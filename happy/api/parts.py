"""The long-lived parts of a running server that every endpoint and event needs, whatever it offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.base.bounds import Budget
    from happy.base.clocks import Now
    from happy.base.pace import Pace
    from happy.base.threads import Threads
    from happy.keys.tokens import Tokens
    from happy.keys.vault import Vault
    from happy.logs.events import Events
    from happy.metrics import Metrics
    from happy.settings.config import Config
    from happy.storage.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What outlives a request, as far as the framework and its transports know it."""

    config: Config
    clock: IReactorTime
    """Deadlines and durations, on a clock that never goes back."""
    now: Now
    """Times that are stored or shown."""
    memory: Budget
    """Bytes that clients make the server keep, by account or, before the login, by address."""
    pace: Pace
    """Whose turn it is when there is much to do."""
    metrics: Metrics
    events: Events
    database: Database
    tokens: Tokens
    vault: Vault
    files: Threads
    """For reading stored files."""
    pages: Threads
    """For finding and reading those of the web app, which may be on another file system."""
