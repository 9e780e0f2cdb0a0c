"""Recovery against its definition: whatever happens, nobody who is told so missed or doubled anything."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from msgspec import Raw
from prometheus_client import CollectorRegistry
from twisted.internet.task import Clock

from happy.base.bounds import Budget
from happy.metrics import Metrics
from happy.realtime.application import HappyApplication
from happy.realtime.calls import Calls
from happy.realtime.hub import Hub
from happy.realtime.recovery import RECOVERABLE, Recovery
from happy.realtime.replay import OVERHEAD
from happy.realtime.updates import (
    Activity,
    Audience,
    DeleteSession,
    Scope,
    Update,
    devices_of,
    watchers_of_machine,
    watchers_of_session,
)
from happy.socketio.connection import new_id
from happy.socketio.socket import Handshake, Socket
from happy.wire.outgoing import encode_connect
from tests.realtime.clients import MemoryLink
from tests.toys import toy_server

ROOMS = (("ann", Scope.USER, ""), ("ann", Scope.SESSION, "x"), ("ann", Scope.MACHINE, "x"))
AUDIENCES = (devices_of("ann"), watchers_of_session("ann", "x"), watchers_of_machine("ann", "x"))


class Life:
    """What the server owes to one private id: all that its room was told since it was given."""

    def __init__(self, room: tuple[str, Scope, str], socket: Socket) -> None:
        self.room = room
        self.id = socket.id
        self.owed: list[tuple[str, int]] = []

    def tell(self, audience: Audience, what: tuple[str, int], skip: str | None) -> None:
        """Something is said to an audience, but not to its sender."""
        account, scope, subject = self.room
        if account == audience.account and audience.reaches(scope, subject) and self.id != skip:
            self.owed.append(what)

    def check(self, heard: list[tuple[str, int]]) -> None:
        """Every update once and in order; of signals some, in order, and the last of each thing."""
        assert [one for one in heard if one[0] == "update"] == [
            one for one in self.owed if one[0] == "update"
        ]
        rest = iter(self.owed)
        assert all(one in rest for one in heard)
        assert dict(heard) == dict(self.owed)


class Peer:
    """A client like socket.io-client; ``heard`` is everything since it was told that it begins anew."""

    def __init__(self, account: str, scope: Scope, subject: str) -> None:
        self.room = (account, scope, subject)
        self.auth = {
            "token": f"a.token.of-{account}",
            "clientType": scope.value,
            "sessionId": subject,
            "machineId": subject,
        }
        self.pid: str | None = None
        self.offset: str | None = None
        self.socket: Socket | None = None
        self.latest: Socket | None = None
        self.heard: list[tuple[str, int]] = []
        self._joined = False
        self._early: list[list[Any]] = []

    def connect(self, socket: Socket) -> bytes:
        """Begin on a new connection; the auth object of the CONNECT."""
        self.socket = self.latest = socket
        self._joined, self._early = False, []
        known = {} if self.pid is None else {"pid": self.pid}
        heard = {} if self.offset is None else {"offset": self.offset}
        return json.dumps(known | heard | self.auth).encode()

    def read(self, count: int | None = None) -> None:
        """The next packets arrive; by default all."""
        assert self.socket is not None
        packets = self.socket._link.packets  # type: ignore[attr-defined]
        arriving = packets[:count]
        del packets[:count]
        for packet in arriving:
            content = json.loads(packet.text[2:])
            if packet.text.startswith(b"40"):
                self._admitted(content["pid"])
            elif self._joined:
                self._hear(*content)
            else:
                self._early.append(content)

    def _admitted(self, pid: str) -> None:
        if pid != self.pid:
            assert not self._early
            self.heard.clear()
        self.pid, self._joined = pid, True
        for early in self._early:
            self._hear(*early)

    def _hear(self, name: str, argument: Any, offset: str) -> None:
        self.offset = offset
        if name == "update":
            self.heard.append(("update", argument["seq"]))
        elif argument["type"] == "activity":
            self.heard.append((argument["id"], argument["activeAt"]))


class Recovering(RuleBasedStateMachine):
    """Events, losses noticed or not, and clients that come back."""

    @initialize(events=st.sampled_from([3, 8, 100]))
    def begin(self, events: int) -> None:
        self.clock = Clock()
        metrics = Metrics(CollectorRegistry())
        self.recovery = Recovery(self.clock, events * (OVERHEAD + 150))
        self.hub = Hub(metrics, self.recovery)
        calls = Calls(self.clock, metrics)
        self.happy = HappyApplication(toy_server(clock=self.clock, metrics=metrics), self.hub, calls, ())
        self.number = 0
        self.lives: dict[str, Life] = {}
        self.dead: list[Socket] = []
        self.peers = [Peer(*room) for room in ROOMS]
        for peer in self.peers:
            self.connect(peer)

    def connect(self, peer: Peer) -> None:
        """As :class:`happy.socketio.connection.SocketConnection` does."""
        socket = Socket(new_id(), "/", Handshake(), MemoryLink(Budget(2**30)))
        self.happy.connect(socket, Raw(peer.connect(socket)))
        for packet in socket.missed:
            socket.send(packet)
        assert socket.pid is not None
        socket.send(encode_connect(socket.id, pid=socket.pid))
        self.happy.joined(socket)
        life = self.lives.setdefault(socket.pid, Life(peer.room, socket))
        assert (life.id, life.room) == (socket.id, peer.room)
        for closed in [dead for dead in self.dead if dead._link.closed]:  # type: ignore[attr-defined]
            self.notice(closed, "forced server close")

    def notice(self, socket: Socket, reason: str) -> None:
        """The server learns that a connection is over."""
        if socket in self.dead:
            self.dead.remove(socket)
        socket.gone()
        self.happy.disconnected(socket, reason)

    def told(self, audience: Audience, what: str, skip: str | None = None) -> int:
        self.number += 1
        for life in self.lives.values():
            life.tell(audience, (what, self.number), skip)
        return self.number

    @rule(what=st.lists(st.tuples(st.sampled_from(AUDIENCES), st.sampled_from([None, 0, 1])), max_size=4))
    def updates(self, what: list[tuple[Audience, int | None]]) -> None:
        """Changes are committed, some of them by a client that is or was connected."""
        for audience, sender in what:
            self.update(audience, None if sender is None else self.peers[sender].latest)

    def update(self, audience: Audience, socket: Socket | None) -> None:
        number = self.told(audience, "update", None if socket is None else socket.id)
        body = DeleteSession(sid="s")
        self.hub.deliver(Update(audience=audience, seq=number, body=body, created_at=0, skip=socket))

    @rule(sessions=st.text("pq", max_size=4))
    def signals(self, sessions: str) -> None:
        """Sessions are alive."""
        for session in sessions:
            number = self.told(devices_of("ann"), session)
            body = Activity(id=session, active=True, active_at=number, thinking=False)
            self.hub.signal(devices_of("ann"), body)

    @rule(
        which=st.sampled_from(range(len(ROOMS))),
        arrived=st.integers(0, 6) | st.just(100),
        reason=st.none() | st.sampled_from(sorted(RECOVERABLE)),
    )
    def lose(self, which: int, arrived: int, reason: str | None) -> None:
        """A client loses its connection, after some of what was sent; perhaps nobody notices."""
        peer = self.peers[which]
        socket = peer.socket
        if socket is not None:
            peer.read(arrived)
            peer.socket = None
            if reason is None:
                self.dead.append(socket)
            else:
                self.notice(socket, reason)

    @rule(which=st.sampled_from(range(len(ROOMS))))
    def come_back(self, which: int) -> None:
        """A client connects again."""
        peer = self.peers[which]
        if peer.socket is None:
            self.connect(peer)

    @rule(which=st.sampled_from(range(len(ROOMS))))
    def leave(self, which: int) -> None:
        """A client leaves in good order."""
        socket, self.peers[which].socket = self.peers[which].socket, None
        if socket is not None:
            self.notice(socket, "client namespace disconnect")

    @rule(seconds=st.sampled_from([1, 50, 130]))
    def wait(self, seconds: int) -> None:
        """Time passes; a dead connection is noticed in the end."""
        for socket in self.dead[: seconds // 50]:
            self.notice(socket, "ping timeout")
        self.clock.advance(seconds)

    @rule()
    def read(self) -> None:
        """Everything arrives, and is everything."""
        for peer in self.peers:
            if peer.socket is not None:
                peer.read()
                assert peer.pid is not None
                self.lives[peer.pid].check(peer.heard)

    def teardown(self) -> None:
        """In the end nothing is kept of anybody."""
        for peer in self.peers:
            if peer.socket is None:
                self.connect(peer)
        self.read()
        for peer in self.peers:
            assert peer.socket is not None
            self.notice(peer.socket, "client namespace disconnect")
        for socket in list(self.dead):
            self.notice(socket, "ping timeout")
        self.clock.pump([130, 10, 10])
        replay = self.recovery.replay
        assert (replay.size, replay._logs, dict(replay._entries)) == (0, {}, {})
        assert (self.recovery._live, self.recovery._lost) == ({}, {})


TestRecovering = Recovering.TestCase
TestRecovering.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


@pytest.mark.parametrize("seed", range(12))
def test_long_life(seed: int) -> None:
    """The same over hundreds of events: logs run over, and clients come back with offsets of all ages."""
    chance = random.Random(seed)
    world = Recovering()
    world.begin(chance.choice([3, 8, 100]))
    came_back = 0
    for _ in range(400):
        which = chance.randrange(len(ROOMS))
        if world.peers[which].socket is None and chance.random() < 0.6:
            world.come_back(which)
            socket = world.peers[which].socket
            came_back += socket is not None and socket.pid == world.peers[which].pid
        action = chance.choices(["tell", "signal", "read", "lose", "leave", "wait"], [8, 4, 4, 4, 1, 1])[0]
        if action == "tell":
            world.updates([(chance.choice(AUDIENCES), chance.choice([None, 0, 1]))])
        elif action == "signal":
            world.signals(chance.choice("pq"))
        elif action == "read":
            world.read()
        elif action == "lose":
            reason = chance.choice([None, *sorted(RECOVERABLE)])
            world.lose(which, chance.choice([0, 1, 2, 100]), reason)
        elif action == "leave":
            world.leave(which)
        else:
            world.wait(chance.choice([1, 50, 130]))
    world.teardown()
    assert came_back > 5
