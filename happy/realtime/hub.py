"""The registry of connected clients, and delivery to them.

One Hub per reactor. HTTP handlers and sockets share it: whatever commits a change hands the committed
updates to :meth:`Hub.deliver` in sequence order, and each client hears those meant for it. An update
is encoded and framed once, however many clients hear it. Where connection state recovery is offered, it
also goes into the log of those who may have missed it. What takes longer than a turn of the reactor goes on
in the next ones, in the account's line (:mod:`happy.realtime.lines`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from happy.realtime.lines import Lines, Work
from happy.realtime.updates import (
    Activity,
    Audience,
    EphemeralBody,
    MachineActivity,
    Scope,
    Update,
    encode_ephemeral,
    encode_update,
)
from happy.socketio.socket import Socket, encode_event

if TYPE_CHECKING:
    from prometheus_client import Gauge

    from happy.base.pace import Pace
    from happy.metrics import Metrics
    from happy.realtime.calls import Pending
    from happy.realtime.recovery import Recovery
    from happy.socketio.socket import EncodedPacket

__all__ = ("Client", "Hub", "Identity", "Scope", "owner_of")

Identity = tuple[str, Scope, str, bool]
"""Account, scope, what the scope names, and whether it was declared: what makes a client the same."""


def owner_of(account: str) -> str:
    """The account's name among those who pay for what is kept, and wait for their turn."""
    return f"account:{account}"


class Client:
    """One authenticated connection.

    ``viewing`` is True while its owner looks at it, None while unknown (realtime.md B.10);
    ``declared`` tells a client that named its scope from one that merely defaulted to user-scoped.
    ``labels`` are its bounded metric labels. ``methods`` are those that it offers, ``calls`` its own that
    wait for an answer; ``handling`` is the number of its events under way, and ``holding`` is where what is
    kept for it counts. ``pid`` is its private id, and ``since`` the position of the account's log at which it
    joined (:mod:`happy.realtime.recovery`).
    """

    __slots__ = (
        "account",
        "calls",
        "declared",
        "gauge",
        "handling",
        "holding",
        "labels",
        "methods",
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
    ) -> None:
        self.socket = socket
        self.holding = socket.holding
        self.account = account
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

    @property
    def identity(self) -> Identity:
        """What must be the same for it to be the same client (realtime.md A.14)."""
        return self.account, self.scope, self.subject, self.declared


MAX_CLIENTS = 2_000
"""Clients of an account: all of them are told what one is told."""

AT_ONCE: Final = 64
"""Clients that are told something before it is looked whether there is time for more."""

_ABSENT = object()


class _Account:
    """The connected clients of one account, by what they watch; ``size`` is their number."""

    __slots__ = ("machines", "sessions", "size", "users")

    def __init__(self) -> None:
        self.size = 0
        self.users: dict[Client, object] = {}
        self.sessions: dict[str, dict[Client, object]] = {}
        self.machines: dict[str, dict[Client, object]] = {}

    def rooms(self, scope: Scope) -> dict[str, dict[Client, object]]:
        return self.sessions if scope is Scope.SESSION else self.machines

    def add(self, client: Client) -> None:
        self.size += 1
        if client.scope is Scope.USER:
            self.users[client] = None
        else:
            self.rooms(client.scope).setdefault(client.subject, {})[client] = None

    def remove(self, client: Client) -> bool:
        """Whether the client was there."""
        if client.scope is Scope.USER:
            there = self.users.pop(client, _ABSENT) is not _ABSENT
        else:
            rooms = self.rooms(client.scope)
            members = rooms.get(client.subject, {})
            there = members.pop(client, _ABSENT) is not _ABSENT
            if there and not members:
                del rooms[client.subject]
        self.size -= there
        return there

    def audience(self, audience: Audience) -> Iterator[Client]:
        yield from self.users
        if audience.session is not None:
            yield from self.sessions.get(audience.session, ())
        if audience.machine is not None:
            yield from self.machines.get(audience.machine, ())


class Hub:
    """Who is connected, and delivery of updates and passing signals to them."""

    def __init__(self, metrics: Metrics, recovery: Recovery | None = None, pace: Pace | None = None) -> None:
        """``recovery`` is where connection state recovery is offered; the hub tells it who is connected.

        ``pace`` is how long the reactor stays with what is told; without it, until everybody knows.
        """
        self.recovery = recovery
        # Not behind what the account's own sockets send: others may wait for it to be told.
        self._lines = Lines(pace, lambda account: f"tell {owner_of(account)}")
        self.after = self._lines.after
        self.told = self._lines.told
        self._accounts: dict[str, _Account] = {}
        self._deliveries = metrics.happy_deliveries_total
        self._untold = metrics.happy_signals_dropped_total
        self._connections = metrics.websocket_connections_total
        self._gauges: dict[tuple[str, str, str], Gauge] = {}
        if recovery is not None:
            recovery.connected = self._accounts.__contains__

    def add(self, client: Client) -> None:
        """Register a client; from now on it hears what it watches."""
        self._accounts.setdefault(client.account, _Account()).add(client)
        client.gauge = self._gauge(client)
        client.gauge.inc()

    def crowded(self, account: str) -> bool:
        """Whether an account has as many clients as it may have."""
        known = self._accounts.get(account)
        return known is not None and known.size >= MAX_CLIENTS

    def remove(self, client: Client) -> None:
        """Forget a client that has gone."""
        account = self._accounts.get(client.account)
        if account is None or not account.remove(client):
            return
        if not account.size:
            del self._accounts[client.account]
        client.gauge.dec()

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

    def machine_connected(self, account: str, machine: str) -> bool:
        """Whether some machine-scoped connection of the machine is open."""
        room = self._accounts.get(account)
        return room is not None and machine in room.machines

    def viewing(self, account: str) -> bool:
        """Whether a declared user-scoped client of the account is in the foreground (realtime.md B.10)."""
        room = self._accounts.get(account)
        return room is not None and any(client.declared and client.viewing for client in room.users)

    def deliver(self, update: Update) -> None:
        """Send a committed update. Call in sequence order per account: clients rely on it (D-1).

        When this returns it may wait in the account's line: see :meth:`after` and :meth:`told`.
        """
        account = update.audience.account
        if not self._lines.free(account):
            self._lines.put(account, _begun(partial(self._tell, update)))
        elif (rest := self._tell(update)) is not None:
            self._lines.begin(account, rest)

    def signal(self, audience: Audience, body: EphemeralBody) -> None:
        """Send a passing signal to whoever is connected."""
        account, state = audience.account, _state_of(body)
        if not self._lines.free(account):
            key = object() if state is None else (audience, state)
            work = _begun(partial(self._signal, audience, body))
            if not self._lines.put_latest(account, key, work):
                self._untold.inc()
        elif (rest := self._signal(audience, body)) is not None:
            self._lines.begin(account, rest)

    def _tell(self, update: Update) -> Work | None:
        skip: str | None = getattr(update.skip, "id", None)
        listeners = list(self.clients(update.audience))
        if skip is not None:
            listeners = [client for client in listeners if client.socket.id != skip]
        if not listeners and not self._awaited(update.audience):
            return None
        return self._send("update", encode_update(update), update.audience, listeners, skip)

    def _signal(self, audience: Audience, body: EphemeralBody) -> Work | None:
        listeners = list(self.clients(audience))
        # Most heartbeats are heard by nobody: those are neither encoded nor kept.
        if not listeners and not self._awaited(audience):
            return None
        return self._send("ephemeral", encode_ephemeral(body), audience, listeners, None, _state_of(body))

    def _awaited(self, audience: Audience) -> bool:
        """Whether somebody of the audience may come back to hear what is told now."""
        return self.recovery is not None and self.recovery.replay.awaited(audience)

    def _send(
        self,
        event: str,
        payload: bytes,
        audience: Audience,
        listeners: list[Client],
        skip: str | None,
        state: Hashable = None,
    ) -> Work | None:
        """Send to whoever is connected now; what is left of that, if they are many."""
        if self.recovery is None:
            packet = encode_event(event, Raw(payload))
        else:
            packet = self.recovery.replay.record(audience, event, payload, skip, state)
        self._deliveries.inc(len(listeners))
        if len(listeners) > AT_ONCE:
            return _in_pieces(packet, [client.socket for client in listeners])
        for client in listeners:
            client.socket.send(packet)
        return None


def _begun(start: Callable[[], Work | None]) -> Work:
    """What is begun when it is its turn."""
    rest = start()
    if rest is not None:
        yield from rest


def _in_pieces(packet: EncodedPacket, sockets: Sequence[Socket]) -> Work:
    """Send to many. A client that comes back on another socket has it from the log."""
    for start in range(0, len(sockets), AT_ONCE):
        for socket in sockets[start : start + AT_ONCE]:
            socket.send(packet)
        yield


def _state_of(body: EphemeralBody) -> Hashable:
    """What a signal tells the latest of; None for one that tells of something that happened."""
    return (type(body), body.id) if isinstance(body, Activity | MachineActivity) else None
