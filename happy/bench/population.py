"""Who is connected to the hosted service, and what they do (its published profile of April 2026)."""

from __future__ import annotations

from dataclasses import dataclass

_MACHINES, _SESSIONS, _APPS = 7480, 16171, 299
_SESSION_HEARTBEATS, _MACHINE_HEARTBEATS, _MESSAGES = 5000.0, 370.0, 180.0
_CALLS = 50.0
"""Not published: an assumption of this tool."""


@dataclass(frozen=True)
class Population:
    """Sockets of each kind, and their events a second. Each account has a machine."""

    machines: int
    sessions: int
    apps: int
    accounts: int
    session_heartbeats: float
    machine_heartbeats: float
    messages: float
    calls: float

    @classmethod
    def of(cls, scale: float, accounts: int = 0, messages: float = 0) -> Population:
        """A part of the whole, over as many accounts as there are machines unless told otherwise.

        ``messages`` are those a second, if not in proportion.
        """
        machines = max(1, round(_MACHINES * scale))
        return cls(
            machines=machines,
            sessions=max(2, round(_SESSIONS * scale)),
            apps=max(1, round(_APPS * scale)),
            accounts=min(accounts or machines, machines),
            session_heartbeats=_SESSION_HEARTBEATS * scale,
            machine_heartbeats=_MACHINE_HEARTBEATS * scale,
            messages=messages or _MESSAGES * scale,
            calls=_CALLS * scale,
        )

    @property
    def sockets(self) -> int:
        """All of them."""
        return self.machines + self.sessions + self.apps
