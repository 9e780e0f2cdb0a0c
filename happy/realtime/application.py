"""Happy on top of Socket.IO: who may connect, what a connection may say, what its end means.

Sources: realtime.md B.1 (handshake), B.2 (scopes), B.9 (side effects), D-8, D-10, D-19, D-22.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from happy.api.declare import Event
from happy.api.pipeline import NO_ANSWER, call_event
from happy.api.structs import MalformedJson, parse_json
from happy.base.coroutines import drive
from happy.base.errors import AccountDisabled
from happy.base.pace import Pace
from happy.keys.access import SeenPairing
from happy.realtime.acknowledging import LargeAcknowledgement, acknowledge
from happy.realtime.client import Client, Identity, owner_of
from happy.realtime.handshake import TOO_MANY, WRONG_TOKEN, AuthObject
from happy.realtime.hub import Hub
from happy.realtime.parameters import CLIENT_HEADER
from happy.realtime.updates import MachineActivity, Scope, devices_of
from happy.socketio.socket import ConnectRefused, Socket, Undecided

if TYPE_CHECKING:
    from prometheus_client import Counter
    from twisted.internet.interfaces import IDelayedCall

    from happy.api.parts import Parts
    from happy.keys.tokens import Bearer
    from happy.realtime.broadcaster import Broadcaster
    from happy.realtime.calls import Calls
    from happy.realtime.recovery import Lost, Moved, Recovery
    from happy.socketio.socket import Acknowledge, EncodedPacket

OFFLINE_AFTER_SECONDS = 3.0
"""How long an abruptly lost machine may stay away before it is reported offline (D-22)."""

MAX_HANDLERS = 10_000
"""Events of one connection under way at once; one that starts more is dropped (D-21)."""

HANDLER_BYTES = 24 * 1024
"""What an event under way counts as, beside its arguments: some 4 KiB, which consist of so many small objects
that the interpreter cannot give all of it back afterwards."""

_MEMBERLESS: Final = msgspec.Raw(b"{}")
"""The data of an event that is nothing but an acknowledgement: the original looks for members there."""

_ABRUPT = frozenset({"transport error", "ping timeout"})
_SHUTDOWN = "server shutting down"
_MACHINE = "Machine"


class Others(Protocol):
    """The other nodes, where there are some."""

    @property
    def everywhere(self) -> Broadcaster:
        """All clients of the service."""

    def host(self, account: str) -> Deferred[None] | None:
        """Fires when the account's updates are heard here; None if they are.

        Fails with TimeoutError if that takes too long.
        """

    def had(self, pid: object, offset: object) -> str | None:
        """The other node that a client comes from which presents these; None if there is none."""

    async def fetch(self, client: Client, node: str, pid: str, offset: str) -> Moved | None:
        """What a client continues that comes from another node; None if it has to start anew.

        It must be admitted in the turn of the reactor in which this ends.
        """


class HappyApplication:
    """The program behind the realtime endpoint."""

    namespaces: Collection[str] = ("/",)
    log = Logger()

    def __init__(
        self,
        parts: Parts,
        hub: Hub,
        calls: Calls,
        events: Sequence[Event],
        pace: Pace | None = None,
        others: Others | None = None,
    ) -> None:
        """``pace`` is how long the reactor stays with machines that come and go together."""
        self._parts = parts
        self._hub = hub
        self._everywhere = hub if others is None else others.everywhere
        self._others = others
        self._calls = calls
        self._pace = pace or Pace(parts.clock)
        self._events = {event.name: event for event in events}
        self._leaving: dict[tuple[str, str], IDelayedCall] = {}
        self._counters: dict[tuple[str, tuple[str, str]], Counter] = {}
        metrics = parts.metrics
        self._heartbeats = {
            "session-alive": metrics.session_alive_events_total,
            "machine-alive": metrics.machine_alive_events_total,
        }

    def connect(self, socket: Socket, auth: msgspec.Raw | None) -> Awaitable[None] | None:
        """Admit a connection, or raise ConnectRefused with the contract's message."""
        members = {} if auth is None else _members(auth)
        handshake = AuthObject(members, socket.handshake.headers.get(CLIENT_HEADER))
        token = handshake.check()
        bearer = self._identify(token, socket)
        account = bearer.sub
        labels = self._parts.metrics.client_labels(handshake.client)
        self._find_room((account, handshake.scope, handshake.subject, handshake.declared), labels)
        if self._hub.crowded(account) or not socket.pay_as(owner_of(account)):
            raise Undecided  # The account has too much, but perhaps less when the client tries again.
        client = Client(
            socket,
            account,
            handshake.scope,
            subject=handshake.subject,
            declared=handshake.declared,
            viewing=handshake.viewing,
            labels=labels,
            pairing=bearer.pairing,
        )
        self._note_pairing(bearer, client)
        if self._others is not None:
            hosting, node = self._others.host(account), self._former_node(self._others, members)
            if hosting is not None or node is not None:
                return self._admit_later(self._others, hosting, node, client, members, token)
        self._admit(client, members)
        return None

    def _find_room(self, identity: Identity, labels: tuple[str, str]) -> None:
        """End the oldest connection that a client which comes may have left behind, if there are too many.

        A phone that changes its network is back long before anybody knows that its former connection is dead.
        Raises ConnectRefused if there is none.
        """
        most = self._parts.config.account_sockets
        if most and self._hub.crowded(identity[0], most):
            former = self._hub.oldest(identity, labels)
            if former is None:
                raise ConnectRefused(TOO_MANY)
            self._hub.remove(former)  # It counts no more, however long closing takes.
            former.socket.close()

    def _former_node(self, others: Others, members: Mapping[str, Any]) -> str | None:
        if self._hub.recovery is None or "pid" not in members:
            return None
        return others.had(members["pid"], members.get("offset"))

    async def _admit_later(
        self,
        others: Others,
        hosting: Deferred[None] | None,
        node: str | None,
        client: Client,
        members: Mapping[str, Any],
        token: str,
    ) -> None:
        """Admit a client when nothing will be missed any more, with what it has missed at another node."""
        moved = None
        try:
            if hosting is not None:
                await hosting
        except TimeoutError:
            raise Undecided from None
        if node is not None:
            moved = await others.fetch(client, node, members["pid"], members["offset"])
        if not client.socket.connected or self._hub.crowded(client.account):
            raise Undecided
        self._identify(token, client.socket)  # It may have been revoked meanwhile.
        self._find_room(client.identity, client.labels)  # Others may have come meanwhile.
        self._admit(client, members, moved)

    def _admit(self, client: Client, members: Mapping[str, Any], moved: Moved | None = None) -> None:
        """Let a client in, in the turn in which it joins the hub."""
        socket, recovery = client.socket, self._hub.recovery
        if recovery is not None:
            client = self._recover(recovery, client, members, moved)
            socket.pid = client.pid
        socket.program = client

    def _identify(self, token: str, socket: Socket) -> Bearer:
        """What a token says. Raises ConnectRefused."""
        address = socket.holding.owner.removeprefix("address:")
        try:
            bearer = self._parts.tokens.identify(token)
        except AccountDisabled as refusal:
            self._parts.events.login_refused("account is disabled", address)
            raise ConnectRefused(refusal.error) from None
        if bearer is None:
            self._parts.events.login_refused(self._parts.tokens.why_refused(token), address)
            raise ConnectRefused(WRONG_TOKEN)
        return bearer

    def _note_pairing(self, bearer: Bearer, client: Client) -> None:
        if bearer.pairing is not None:
            now = self._parts.now()
            issued_at = bearer.issued_at if 0 <= bearer.issued_at <= now else now
            machine = client.subject if client.scope is Scope.MACHINE else None
            seen = SeenPairing(bearer.sub, issued_at, now, machine)
            self._parts.tokens.access.note(bearer.pairing, seen)

    def _recover(
        self, recovery: Recovery, client: Client, members: Mapping[str, Any], moved: Moved | None
    ) -> Client:
        """The client that this one turns out to be, on this one's socket (realtime.md A.14).

        Looking up what was missed, sending it and joining the hub happen in one turn of the reactor: nothing
        that is told meanwhile can come in between, or twice.
        """
        recovered = None if moved else recovery.resume(client, members.get("pid"), members.get("offset"))
        if "pid" in members:
            result = "recovered" if moved or recovered else "fresh"
            self._parts.metrics.happy_recoveries_total.labels(result).inc()
        if moved is not None:
            recovery.take_in(client, moved)
            self._continue(client, moved, moved.missed)
        elif recovered is None:
            recovery.enter(client)
        elif isinstance(recovered.former, Client):
            client.socket.missed = recovered.missed
            self._take_over(recovered.former, client)
            return recovered.former
        else:
            self._continue(client, recovered.former, recovered.missed)
        return client

    def _continue(self, client: Client, former: Lost | Moved, missed: Sequence[EncodedPacket]) -> None:
        """Let a client be what it was before it was lost."""
        client.socket.missed = missed
        client.socket.id = former.id
        client.socket.next_call = former.next_call
        if not all(self._calls.register(client, method) for method in former.methods):
            client.socket.close()  # It would believe that it offers what it does not.

    def _take_over(self, former: Client, client: Client) -> None:
        """Put a client on the socket that it came back with; nobody hears of the end of its dead one."""
        dead, former.socket, former.viewing = former.socket, client.socket, client.viewing
        self._hub.remove(former)  # Until it has joined again, in the same turn.
        former.socket.id = dead.id
        former.socket.take_calls(dead)
        self._calls.abandon(former)
        if not self._calls.move(former, client.holding):
            former.socket.close()
        dead.close()

    def joined(self, socket: Socket) -> None:
        """Let an admitted connection hear what it watches."""
        client: Client = socket.program
        self._hub.add(client)
        if client.scope is Scope.MACHINE:
            leaving = self._leaving.pop((client.account, client.subject), None)
            if leaving is not None:
                leaving.cancel()
            else:
                self._parts.events.device_online(client.account, _MACHINE, client.subject)
            self._announce(client.account, client.subject, active=True)
        elif client.scope is Scope.USER:
            self._parts.events.device_online(client.account, _app(client))

    def event(
        self,
        socket: Socket,
        name: str,
        arguments: Sequence[msgspec.Raw],
        ack: Acknowledge | None,
    ) -> None:
        """Run a declared event's handler; names that nobody declared are ignored."""
        event = self._events.get(name)
        if event is None:
            return
        client: Client = socket.program
        if name in _COUNTED:
            self._count(name, client)
        data = arguments[0] if arguments else _MEMBERLESS if ack else None
        size = HANDLER_BYTES + (len(arguments[0]) if len(arguments) == 1 else sum(map(len, arguments)))
        holding = client.holding
        if client.handling >= MAX_HANDLERS or not holding.take(size):
            socket.close()
            return
        client.handling += 1
        answer = ack if event.acks else None

        def over() -> None:
            client.handling -= 1
            holding.give_back(size)

        def done(value: Any) -> None:
            if answer is None or value is NO_ANSWER or acknowledge(answer, value, size):
                over()
            else:
                LargeAcknowledgement(self._pace, client, event, answer, value, over).go_on()

        def failed(error: BaseException) -> None:
            over()
            self.log.error("Event {name} failed: {error}", name=name, error=type(error).__name__)

        drive(call_event(self._parts, event, client.caller, socket, data), done, failed)

    def _count(self, name: str, client: Client) -> None:
        counter = self._counters.get((name, client.labels))
        if counter is None:
            counter = self._parts.metrics.websocket_events_total.labels(name, *client.labels)
            self._counters[name, client.labels] = counter
        counter.inc()
        heartbeats = self._heartbeats.get(name)
        if heartbeats is not None:
            heartbeats.inc()

    def disconnected(self, socket: Socket, reason: str) -> None:
        """Forget a connection and, if it was a machine's last, report the machine offline."""
        client = socket.program
        if client is None or client.socket is not socket:
            return
        self._hub.remove(client)
        if self._hub.recovery is not None:
            self._hub.recovery.leave(client, reason)
        self._calls.forget(client)
        self._count("disconnect", client)
        if reason == _SHUTDOWN:
            return
        if client.scope is Scope.MACHINE:
            self._machine_left(client.account, client.subject, abruptly=reason in _ABRUPT)
        elif client.scope is Scope.USER:
            self._parts.events.device_offline(client.account, _app(client))

    def _machine_left(self, account: str, machine: str, *, abruptly: bool) -> None:
        if self._everywhere.machine_connected(account, machine) or (account, machine) in self._leaving:
            return
        if not abruptly:
            self._announce(account, machine, active=False)
            return
        self._leaving[account, machine] = self._parts.clock.callLater(
            OFFLINE_AFTER_SECONDS, self._stayed_away, account, machine
        )

    def _stayed_away(self, account: str, machine: str) -> None:
        del self._leaving[account, machine]
        if not self._everywhere.machine_connected(account, machine):
            self._announce(account, machine, active=False)

    def _announce(self, account: str, machine: str, *, active: bool) -> None:
        if not active:
            self._parts.events.device_offline(account, _MACHINE, machine)
        now = int(self._parts.now() * 1000)
        told = MachineActivity(id=machine, active=active, active_at=now)
        signal = partial(self._everywhere.signal, devices_of(account), told)
        self._pace.soon(owner_of(account), signal)

    def stop(self) -> None:
        """Forget machines whose return is still hoped for: shutting down announces nothing (D-22)."""
        for leaving in self._leaving.values():
            leaving.cancel()
        self._leaving.clear()
        if self._hub.recovery is not None:
            self._hub.recovery.stop()


def _app(client: Client) -> str:
    """What kind of client it says it is, in a word; its second label is one of a few."""
    return f"Client {client.labels[1]}"


def _members(auth: msgspec.Raw) -> Mapping[str, Any]:
    """What a client presents. Raises Undecided for an object that nests too deeply to be read."""
    try:
        members: Mapping[str, Any] = parse_json(auth)
    except MalformedJson:
        raise Undecided from None
    return members


_COUNTED = frozenset(
    {
        "message",
        "session-alive",
        "machine-alive",
        "artifact-read",
        "artifact-update",
        "artifact-create",
        "artifact-delete",
        "disconnect",
    }
)
