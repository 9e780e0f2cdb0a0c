"""One authenticated connection, as everything about sockets knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from happy.api.declare import Caller
from happy.realtime.updates import Scope

if TYPE_CHECKING:
    from prometheus_client import Gauge

    from happy.socketio.socket import Socket

Identity = tuple[str, Scope, str, bool]
"""Account, scope, what the scope names, and whether it was declared: what makes a client the same."""


def owner_of(account: str) -> str:
    """The account's name among those who pay for what is kept, and wait for their turn."""
    return f"account:{account}"


class Pending(Protocol):
    """A call that is not answered yet."""

    def abandon(self) -> None:
        """Nobody waits for the answer any more."""


class Client:
    """One authenticated connection.

    ``viewing`` is True while its owner looks at it, None while unknown (realtime.md B.10); ``declared`` tells
    a client that named its scope from one that merely defaulted to user-scoped. ``labels`` are its bounded
    metric labels, ``pairing`` is what its token belongs to, ``caller`` what handlers know it by. ``methods``
    are those that it offers, ``calls`` its own that wait for an answer; ``handling`` is the number of its
    events under way, and ``holding`` is where what is kept for it counts. ``pid`` is its private id,
    ``since`` the position of the account's log at which it joined, and ``came_with`` the offset that it
    brought from another node (:mod:`happy.realtime.recovery`).
    """

    __slots__ = (
        "account",
        "caller",
        "calls",
        "came_with",
        "declared",
        "gauge",
        "handling",
        "holding",
        "labels",
        "methods",
        "pairing",
        "pid",
        "scope",
        "since",
        "socket",
        "subject",
        "viewing",
    )

    gauge: Gauge

    def __init__(
        self,
        socket: Socket,
        account: str,
        scope: Scope = Scope.USER,
        *,
        subject: str = "",
        declared: bool = True,
        viewing: bool | None = None,
        labels: tuple[str, str] = ("unknown", "unknown"),
        pairing: str | None = None,
    ) -> None:
        self.socket = socket
        self.pairing = pairing
        self.holding = socket.holding
        self.account = account
        self.caller = Caller(account)
        self.scope = scope
        self.subject = subject
        self.declared = declared
        self.viewing = viewing
        self.labels = labels
        self.methods: set[str] | None = None
        self.calls: set[Pending] | None = None
        self.handling = 0
        self.pid: str | None = None
        self.since = 0
        self.came_with: str | None = None

    @property
    def identity(self) -> Identity:
        """What must be the same for it to be the same client (realtime.md A.14)."""
        return self.account, self.scope, self.subject, self.declared
