"""The registry of connected clients, and delivery to them.

One Hub per reactor. HTTP handlers and sockets share it: whatever commits a change hands the committed
updates to :meth:`Hub.deliver` in sequence order, and each client hears those meant for it. An update
is encoded and framed once, however many clients hear it. Where connection state recovery is offered, it
also goes into the log of those who may have missed it. What takes longer than a turn of the reactor goes on
in the next ones, in the account's line (:mod:`happy.realtime.lines`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

from happy.api.portions import LARGE, in_portions
from happy.realtime.client import Client, owner_of
from happy.realtime.gathering import Gathering
from happy.realtime.large_updates import size_of_update
from happy.realtime.lines import Lines, Work
from happy.realtime.updates import (
    Audience,
    EphemeralBody,
    Scope,
    Update,
    devices_of,
    encode_ephemeral,
    encode_update,
    envelope,
    state_of,
)
from happy.socketio.socket import Socket, encode_event
from happy.storage.pieces import InPieces

if TYPE_CHECKING:
    from prometheus_client import Gauge

    from happy.base.bounds import Budget
    from happy.base.pace import Pace
    from happy.metrics import Metrics
    from happy.realtime.broadcaster import Observer
    from happy.realtime.client import Identity
    from happy.realtime.recovery import Recovery
    from happy.socketio.socket import EncodedPacket

State = tuple[str, str]
"""What a signal tells the latest of: a kind, and an id."""

MAX_CLIENTS = 2_000
"""Clients of an account: all of them are told what one is told."""

AT_ONCE: Final = 64
"""Clients that are told something before it is looked whether there is time for more."""

BYTES_AT_ONCE: Final = 1024 * 1024
"""Bytes for all of them together: the system copies them, which takes it some milliseconds."""

Encode = Callable[[Any], bytes]
"""Makes the text that is sent."""

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

    def everybody(self) -> list[Client]:
        rooms = (self.users, *self.sessions.values(), *self.machines.values())
        return [client for room in rooms for client in room]

    def audience(self, audience: Audience) -> list[Client]:
        found = list(self.users)
        if audience.session is not None:
            found += self.sessions.get(audience.session, ())
        if audience.machine is not None:
            found += self.machines.get(audience.machine, ())
        return found


class Hub:
    """Who is connected here, and delivery of updates and passing signals to them.

    ``observer`` hears of who comes and goes, where there are other nodes. What is large is paid for out of
    ``memory``, if that is set, while its text is written: where there is no room, whoever was to hear it is
    closed, and begins anew.
    """

    def __init__(self, metrics: Metrics, recovery: Recovery | None = None, pace: Pace | None = None) -> None:
        """``recovery``, where it is offered, is told who is connected; ``pace`` is how long the reactor stays
        with what is told, without it until everybody knows."""
        self.recovery = recovery
        self.observer: Observer | None = None
        self.memory: Budget | None = None
        # Not behind what the account's own sockets send: others may wait for it to be told.
        self._lines = Lines(pace, lambda account: f"tell {owner_of(account)}")
        self.after = self._lines.after
        self.told = self._lines.told
        self.withholds = self._lines.signals_wait
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
        if self.observer is not None:
            self.observer.joined(client)

    def crowded(self, account: str, most: int | None = None) -> bool:
        """Whether an account has as many clients as it may have."""
        known = self._accounts.get(account)
        return known is not None and known.size >= (most or MAX_CLIENTS)

    def remove(self, client: Client) -> None:
        """Forget a client that has gone."""
        account = self._accounts.get(client.account)
        if account is None or not account.remove(client):
            return
        if not account.size:
            del self._accounts[client.account]
        client.gauge.dec()
        if self.observer is not None:
            self.observer.left(client)

    def current(self, account: str) -> None:
        """Nobody else commits anything (see :class:`happy.realtime.broadcaster.Broadcaster`)."""

    def look(self, client: Client, viewing: bool) -> None:
        """A client came to the foreground, or went from it (realtime.md B.10)."""
        client.viewing = viewing
        if self.observer is not None:
            self.observer.looked(client)

    def _gauge(self, client: Client) -> Gauge:
        labels = (client.scope.value, *client.labels)
        gauge = self._gauges.get(labels)
        if gauge is None:
            gauge = self._gauges[labels] = self._connections.labels(*labels)
        return gauge

    def clients(self, audience: Audience) -> list[Client]:
        """The connected clients of an audience, each once."""
        account = self._accounts.get(audience.account)
        return [] if account is None else account.audience(audience)

    def acquainted(self, account: str) -> None:
        """See :class:`happy.realtime.broadcaster.Broadcaster`: there are no others."""

    def machine_connected(self, account: str, machine: str) -> bool:
        """Whether some machine-scoped connection of the machine is open."""
        room = self._accounts.get(account)
        return room is not None and machine in room.machines

    def machines(self, account: str) -> list[str]:
        """The machines of the account that have an open connection."""
        room = self._accounts.get(account)
        return [] if room is None else list(room.machines)

    def has_users(self, account: str) -> bool:
        """Whether user-scoped clients of the account are connected, or may come back."""
        room = self._accounts.get(account)
        return bool(room is not None and room.users) or self._awaited(devices_of(account))

    def everybody(self, account: str) -> list[Client]:
        """The connected clients of an account."""
        room = self._accounts.get(account)
        return [] if room is None else room.everybody()

    def needed(self, account: str) -> bool:
        """Whether any client of the account is connected, or may come back."""
        return account in self._accounts or (
            self.recovery is not None and self.recovery.replay.awaits_any(account)
        )

    def oldest(self, identity: Identity, labels: tuple[str, str]) -> Client | None:
        """Of the clients that may be the same one, by program and version too, the first that came."""
        same = (
            one for one in self.everybody(identity[0]) if one.identity == identity and one.labels == labels
        )
        return next(same, None)

    def viewing(self, account: str) -> bool:
        """Whether a declared user-scoped client of the account is in the foreground (realtime.md B.10)."""
        room = self._accounts.get(account)
        return room is not None and any(client.declared and client.viewing for client in room.users)

    def deliver(self, update: Update) -> None:
        """Send a committed update. Call in sequence order per account: clients rely on it (D-1).

        When this returns it may wait in the account's line: see :meth:`after` and :meth:`told`.
        """
        audience, skip = update.audience, getattr(update.skip, "id", None)
        self._in_line(audience.account, self._tell, audience, skip, encode_update, update)

    def signal(self, audience: Audience, body: EphemeralBody) -> None:
        """Send a passing signal to whoever is connected."""
        self._pass(audience, state_of(body), encode_ephemeral, body)

    def deliver_text(self, audience: Audience, text: bytes | InPieces, skip: str | None) -> None:
        """As :meth:`deliver`, of what :func:`text_of` made; ``skip`` is a socket's id."""
        self._in_line(audience.account, self._tell, audience, skip, _as_it_is, text)

    def signal_text(self, audience: Audience, text: bytes, state: State | None) -> None:
        """As :meth:`signal`, of what :func:`encode_ephemeral` and :func:`state_of` made."""
        self._pass(audience, state, _as_it_is, text)

    def cut(self, account: str) -> None:
        """Close the account's sockets, after what was delivered, and let them come back as new ones only.

        For when it is not known what they have missed.
        """
        self._in_line(account, self._cut, account)

    def cut_all(self) -> None:
        """As :meth:`cut`, for every account."""
        for account in list(self._accounts):
            self.cut(account)

    def _cut(self, account: str) -> Work | None:
        if self.recovery is not None:
            self.recovery.replay.break_off(account)
        sockets = [client.socket for client in self.everybody(account)]
        return _closing(sockets) if sockets else None

    def _in_line(self, account: str, start: Callable[..., Work | None], *arguments: Any) -> None:
        """Begin something now if it is its turn, and else when it is."""
        if not self._lines.free(account):
            self._lines.put(account, _begun(start, *arguments))
        elif (rest := start(*arguments)) is not None:
            self._lines.begin(account, rest)

    def _pass(self, audience: Audience, state: State | None, encode: Encode, what: Any) -> None:
        account = audience.account
        if not self._lines.free(account):
            key = object() if state is None else (audience, state)
            work = _begun(self._signal, audience, state, encode, what)
            if not self._lines.put_latest(account, key, work):
                self._untold.inc()
        elif (rest := self._signal(audience, state, encode, what)) is not None:
            self._lines.begin(account, rest)

    def _tell(self, audience: Audience, skip: str | None, encode: Encode, what: Any) -> Work | None:
        sockets = self._sockets(audience, skip)
        if not sockets and not self._awaited(audience):
            return None
        if encode is not encode_update:
            portions = _slices(what) if len(what) > LARGE else None
        else:
            portions = in_portions(envelope(what)) if size_of_update(what) > LARGE else None
        if portions is not None:
            return self._tell_in_portions(audience, skip, portions)
        return self._send("update", encode(what), audience, sockets, skip)

    def _tell_in_portions(self, audience: Audience, skip: str | None, portions: Iterator[bytes]) -> Work:
        gathering = Gathering(self.memory, audience.account)
        try:
            for portion in portions:
                if not gathering.add(portion):
                    break
                yield
        finally:
            packet = gathering.end()
        # Those who are there now: who came meanwhile was not told before.
        sockets = self._sockets(audience, skip)
        if packet is None:
            if self.recovery is not None:
                self.recovery.replay.break_off(audience.account)
            yield from _closing(sockets)
            return
        if self.recovery is None:
            packet.finish(b"]")
        else:
            self.recovery.replay.record_gathered(audience, packet, skip)
        self._deliveries.inc(len(sockets))
        for socket in sockets:
            socket.send(packet)
            yield

    def _sockets(self, audience: Audience, skip: str | None) -> list[Socket]:
        sockets = [client.socket for client in self.clients(audience)]
        return sockets if skip is None else [socket for socket in sockets if socket.id != skip]

    def _signal(self, audience: Audience, state: State | None, encode: Encode, what: Any) -> Work | None:
        sockets = [client.socket for client in self.clients(audience)]
        # Most heartbeats are heard by nobody: those are neither encoded nor kept.
        if not sockets and not self._awaited(audience):
            return None
        return self._send("ephemeral", encode(what), audience, sockets, None, state)

    def _awaited(self, audience: Audience) -> bool:
        """Whether somebody of the audience may come back to hear what is told now."""
        return self.recovery is not None and self.recovery.replay.awaited(audience)

    def _send(
        self,
        event: str,
        payload: bytes,
        audience: Audience,
        sockets: list[Socket],
        skip: str | None,
        state: State | None = None,
    ) -> Work | None:
        """Send to whoever is connected now; what is left of that, if they are many."""
        if self.recovery is None:
            packet = encode_event(event, Raw(payload))
        else:
            packet = self.recovery.replay.record(audience, event, payload, skip, state)
        self._deliveries.inc(len(sockets))
        if len(sockets) > AT_ONCE or len(sockets) * len(packet.frames) > BYTES_AT_ONCE:
            return _in_pieces(packet, sockets)
        for socket in sockets:
            socket.send(packet)
        return None


def _slices(text: bytes | InPieces) -> Iterator[bytes]:
    """A large text in portions."""
    if isinstance(text, InPieces):
        return text.portions()
    return (text[start : start + LARGE] for start in range(0, len(text), LARGE))


def _begun(start: Callable[..., Work | None], *arguments: Any) -> Work:
    """What is begun when it is its turn."""
    rest = start(*arguments)
    if rest is not None:
        yield from rest


def _in_pieces(packet: EncodedPacket, sockets: Sequence[Socket]) -> Work:
    """Send to many. A client that comes back on another socket has it from the log."""
    at_once = max(1, min(AT_ONCE, BYTES_AT_ONCE // len(packet.frames)))
    for start in range(0, len(sockets), at_once):
        for socket in sockets[start : start + at_once]:
            socket.send(packet)
        yield


def _closing(sockets: Sequence[Socket]) -> Work:
    for socket in sockets:
        socket.close()
        yield


def _as_it_is(text: bytes) -> bytes:
    return text
