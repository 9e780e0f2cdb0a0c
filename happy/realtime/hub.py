"""The registry of connected clients, and delivery to them.

One Hub per reactor. HTTP handlers and sockets share it: whatever commits a change hands the committed
updates to :meth:`Hub.deliver` in sequence order, and each client hears those meant for it. An update
is encoded and framed once, however many clients hear it.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Raw

from happy.realtime.socket import Socket, encode_event
from happy.realtime.updates import (
    Audience,
    EphemeralBody,
    Update,
    encode_ephemeral,
    encode_update,
)

if TYPE_CHECKING:
    from prometheus_client import Gauge

    from happy.metrics import Metrics


class Scope(Enum):
    """What a client watches (realtime.md B.2)."""

    USER = "user-scoped"
    SESSION = "session-scoped"
    MACHINE = "machine-scoped"


class Client:
    """One authenticated connection.

    ``viewing`` is True while its owner looks at it, None while unknown (realtime.md B.10);
    ``declared`` tells a client that named its scope from one that merely defaulted to user-scoped.
    ``labels`` are its bounded metric labels.
    """

    __slots__ = (
        "account",
        "declared",
        "handled_bytes",
        "handling",
        "in_flight",
        "labels",
        "methods",
        "scope",
        "socket",
        "subject",
        "viewing",
    )

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
    ) -> None:
        self.socket = socket
        self.account = account
        self.scope = scope
        self.subject = subject
        self.declared = declared
        self.viewing = viewing
        self.labels = labels
        self.methods: set[str] | None = None
        self.in_flight = 0
        self.handling = 0
        self.handled_bytes = 0


_ABSENT = object()


class _Account:
    """The connected clients of one account, by what they watch."""

    __slots__ = ("machines", "sessions", "users")

    def __init__(self) -> None:
        self.users: dict[Client, object] = {}
        self.sessions: dict[str, dict[Client, object]] = {}
        self.machines: dict[str, dict[Client, object]] = {}

    def rooms(self, scope: Scope) -> dict[str, dict[Client, object]]:
        return self.sessions if scope is Scope.SESSION else self.machines

    def add(self, client: Client) -> None:
        if client.scope is Scope.USER:
            self.users[client] = None
        else:
            self.rooms(client.scope).setdefault(client.subject, {})[client] = None

    def remove(self, client: Client) -> bool:
        """Whether the client was there."""
        if client.scope is Scope.USER:
            return self.users.pop(client, _ABSENT) is not _ABSENT
        rooms = self.rooms(client.scope)
        members = rooms.get(client.subject, {})
        there = members.pop(client, _ABSENT) is not _ABSENT
        if there and not members:
            del rooms[client.subject]
        return there

    def empty(self) -> bool:
        return not (self.users or self.sessions or self.machines)

    def audience(self, audience: Audience) -> Iterator[Client]:
        yield from self.users
        if audience.session is not None:
            yield from self.sessions.get(audience.session, ())
        if audience.machine is not None:
            yield from self.machines.get(audience.machine, ())


class Hub:
    """Who is connected, and delivery of updates and passing signals to them."""

    def __init__(self, metrics: Metrics) -> None:
        self._accounts: dict[str, _Account] = {}
        self._deliveries = metrics.happy_deliveries_total
        self._connections = metrics.websocket_connections_total
        self._gauges: dict[tuple[str, str, str], Gauge] = {}

    def add(self, client: Client) -> None:
        """Register a client; from now on it hears what it watches."""
        self._accounts.setdefault(client.account, _Account()).add(client)
        self._gauge(client).inc()

    def remove(self, client: Client) -> None:
        """Forget a client that has gone."""
        account = self._accounts.get(client.account)
        if account is None or not account.remove(client):
            return
        if account.empty():
            del self._accounts[client.account]
        self._gauge(client).dec()

    def _gauge(self, client: Client) -> Gauge:
        labels = (client.scope.value, *client.labels)
        gauge = self._gauges.get(labels)
        if gauge is None:
            gauge = self._gauges[labels] = self._connections.labels(*labels)
        return gauge

    def clients(self, audience: Audience) -> Iterator[Client]:
        """The connected clients of an audience, each once."""
        account = self._accounts.get(audience.account)
        return iter(()) if account is None else account.audience(audience)

    def watched(self, audience: Audience) -> bool:
        """Whether anybody of the audience is connected."""
        return next(self.clients(audience), None) is not None

    def machine_connected(self, account: str, machine: str) -> bool:
        """Whether some machine-scoped connection of the machine is open."""
        room = self._accounts.get(account)
        return room is not None and machine in room.machines

    def viewing(self, account: str) -> bool:
        """Whether a declared user-scoped client of the account is in the foreground (realtime.md B.10)."""
        room = self._accounts.get(account)
        return room is not None and any(client.declared and client.viewing for client in room.users)

    def deliver(self, update: Update) -> None:
        """Send a committed update. Call in sequence order per account: clients rely on it (D-1)."""
        listeners = [client for client in self.clients(update.audience) if client.socket is not update.skip]
        if listeners:
            self._send("update", encode_update(update), listeners)

    def signal(self, audience: Audience, body: EphemeralBody) -> None:
        """Send a passing signal to whoever is connected."""
        listeners = list(self.clients(audience))
        if listeners:
            self._send("ephemeral", encode_ephemeral(body), listeners)

    def _send(self, event: str, payload: bytes, listeners: list[Client]) -> None:
        packet = encode_event(event, Raw(payload))
        for client in listeners:
            client.socket.send(packet)
        self._deliveries.inc(len(listeners))
