"""Clients that come back: on real WebSockets and polls in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Struct
from wsproto.events import TextMessage

from happy.base.bounds import Budget
from happy.capabilities import CAPABILITIES
from happy.realtime.application import OFFLINE_AFTER_SECONDS
from happy.realtime.recovery import LOST_COST
from happy.realtime.replay import KEPT_SECONDS
from happy.realtime.updates import Audience, DeleteSession, Update, devices_of, watchers_of_session
from tests.realtime.happy_world import MACHINE, TOKEN, HappyWorld
from tests.socketio.peers import PollingPeer, WebSocketPeer, call_id

PHONE = {"clientType": "user-scoped"}
DEVICES = devices_of("ann")


class RecoveringWorld(HappyWorld):
    """Clients that remember what recovery takes."""

    def __init__(self) -> None:
        super().__init__(recovery=True)
        self.seq = 0

    def tell(self, audience: Audience = DEVICES, skip: object = None) -> int:
        """An update; its number."""
        self.seq += 1
        body = DeleteSession(sid="s")
        self.server.hub.deliver(Update(audience=audience, seq=self.seq, body=body, created_at=0, skip=skip))
        return self.seq

    def enter(self, **auth: Any) -> tuple[WebSocketPeer, Visit]:
        """A client of ann's connects."""
        peer = self.asking({"token": TOKEN, **auth})
        return peer, Visit(peer)

    def results(self) -> tuple[float, float]:
        """How many came back recovered, and afresh."""
        count = self.metrics.happy_recoveries_total.labels
        return count("recovered")._value.get(), count("fresh")._value.get()


class Visit:
    """What a client has heard since the last time: before it was let in, the reply, and after that."""

    def __init__(self, peer: WebSocketPeer) -> None:
        self.offset: str | None = None
        texts = [event.data for event in peer.receive() if isinstance(event, TextMessage)]
        at = next((at for at, text in enumerate(texts) if text.startswith("40")), -1)
        self.before = [self._read(text) for text in texts[: max(at, 0)]]
        self.after = [self._read(text) for text in texts[at + 1 :]]
        reply = json.loads(texts[at][2:]) if at >= 0 else {}
        self.sid, self.pid = reply.get("sid"), reply.get("pid")

    def _read(self, text: str) -> Any:
        name, argument, self.offset = json.loads(text[2:])
        return argument["seq"] if name == "update" else argument

    @property
    def returning(self) -> dict[str, str | None]:
        """What a client presents that comes back."""
        return {"pid": self.pid, "offset": self.offset}


@pytest.fixture
def world() -> RecoveringWorld:
    return RecoveringWorld()


def entered(world: RecoveringWorld, **auth: Any) -> tuple[WebSocketPeer, Visit]:
    """A client that was told one update."""
    peer, visit = world.enter(**auth)
    assert visit.pid
    world.tell()
    heard = Visit(peer)
    visit.offset = heard.offset
    return peer, visit


def test_offered(world: RecoveringWorld) -> None:
    """The reply to CONNECT has a private id, and each event ends in an offset."""
    peer, visit = world.enter()
    assert visit.pid is not None
    assert visit.sid is not None
    assert len(visit.pid) == 20
    assert visit.pid != visit.sid
    world.tell()
    [text] = peer.texts()
    *_, offset = json.loads(text[2:])
    assert isinstance(offset, str)


def test_not_offered() -> None:
    """Switched off, replies and events are as the original's, whatever a client presents."""
    world = HappyWorld()
    peer = world.asking({"token": TOKEN, "pid": "x", "offset": "y-1"})
    [reply] = peer.texts()
    assert list(json.loads(reply[2:])) == ["sid"]
    world.server.hub.deliver(
        Update(audience=devices_of("ann"), seq=1, body=DeleteSession(sid="s"), created_at=0)
    )
    [text] = peer.texts()
    assert len(json.loads(text[2:])) == 2


def test_comes_back(world: RecoveringWorld) -> None:
    """A client that was lost hears what it missed, then that it is the same, then what is new."""
    peer, before = entered(world)
    world.lose(peer)
    missed = [world.tell(), world.tell()]
    back, visit = world.enter(**before.returning)
    assert (visit.before, visit.after) == (missed, [])
    assert (visit.sid, visit.pid) == (before.sid, before.pid)
    new = world.tell()
    assert Visit(back).after == [new]
    assert world.results() == (1, 0)


def test_comes_back_again(world: RecoveringWorld) -> None:
    """One that is lost before it heard the reply hears all of it the next time."""
    peer, before = entered(world)
    world.lose(peer)
    missed = [world.tell()]
    back, _ = world.enter(**before.returning)
    world.lose(back)
    missed.append(world.tell())
    _, visit = world.enter(**before.returning)
    assert (visit.before, visit.pid) == (missed, before.pid)


def test_half_open(world: RecoveringWorld) -> None:
    """One whose dead connection nobody noticed takes its own place, and the old connection ends."""
    peer, before = entered(world)
    missed = [world.tell()]
    back, visit = world.enter(**before.returning)
    assert (visit.before, visit.sid, visit.pid) == (missed, before.sid, before.pid)
    world.clock.advance(0)
    assert peer.closing() == 1005
    peer.drop()
    new = world.tell()
    assert Visit(back).after == [new]
    gauge = world.metrics.websocket_connections_total.labels("user-scoped", "unknown", "unknown")
    assert gauge._value.get() == 1


def test_half_open_machine(world: RecoveringWorld) -> None:
    """A machine that takes its own place is not reported offline; methods and calls to it go on."""
    world.tell()
    phone, _ = world.enter(**PHONE)
    machine, before = world.enter(**MACHINE)
    world.tell(Audience("ann", machine="m"))
    before.offset = Visit(machine).offset
    machine.text('42["rpc-register",{"method":"m:x"}]')
    machine.texts()
    phone.text('4217["rpc-call",{"method":"m:x","params":1}]')
    (call,) = machine.texts()
    number = call_id(call, "rpc-request")
    back, visit = world.enter(**MACHINE, **before.returning)
    assert visit.sid == before.sid
    world.clock.advance(0)
    machine.drop()
    world.clock.advance(OFFLINE_AFTER_SECONDS)
    back.text(f'43{number}["done"]')
    heard = phone.texts()
    assert '4317[{"ok":true,"result":"done"}]' in heard
    assert [text for text in heard if '"active":false' in text] == []
    phone.text('4218["rpc-call",{"method":"m:x","params":2}]')
    assert back.texts() == [f'42{number + 1}["rpc-request",{{"method":"m:x","params":2}}]']


def test_methods_are_offered_again(world: RecoveringWorld) -> None:
    """What a lost client offered it offers again when it is back."""
    phone, _ = world.enter(**PHONE)
    machine, before = world.enter(**MACHINE)
    world.tell(Audience("ann", machine="m"))
    before.offset = Visit(machine).offset
    machine.text('42["rpc-register",{"method":"m:x"}]')
    phone.text('421["rpc-call",{"method":"m:x"}]')
    number = call_id(machine.texts()[-1], "rpc-request")
    world.lose(machine)
    back, visit = world.enter(**MACHINE, **before.returning)
    assert visit.sid == before.sid
    phone.texts()
    phone.text('422["rpc-call",{"method":"m:x"}]')
    assert back.texts() == [f'42{number + 1}["rpc-request",{{"method":"m:x"}}]']


def test_machine_comes_back_online(world: RecoveringWorld) -> None:
    """A recovered machine is announced like any other (realtime.md A.14 rule 7)."""
    phone, _ = world.enter(**PHONE)
    machine, before = world.enter(**MACHINE)
    world.tell(Audience("ann", machine="m"))
    before.offset = Visit(machine).offset
    world.lose(machine)
    world.clock.advance(OFFLINE_AFTER_SECONDS)
    world.enter(**MACHINE, **before.returning)
    signals = [one["active"] for one in Visit(phone).after if isinstance(one, dict)]
    assert signals == [True, False, True]


def test_sender(world: RecoveringWorld) -> None:
    """What a client sent before it was lost is not told to it, neither late nor live."""
    peer, before = entered(world, clientType="session-scoped", sessionId="s")
    world.tell(watchers_of_session("ann", "s"))
    before.offset = Visit(peer).offset
    [client] = world.server.hub.clients(watchers_of_session("ann", "s"))
    sender = client.socket
    world.tell(watchers_of_session("ann", "s"), skip=sender)
    world.lose(peer)
    world.tell(watchers_of_session("ann", "s"), skip=sender)
    back, visit = world.enter(clientType="session-scoped", sessionId="s", **before.returning)
    assert (visit.before, visit.pid) == ([], before.pid)
    world.tell(watchers_of_session("ann", "s"), skip=sender)
    other = world.tell(watchers_of_session("ann", "s"))
    assert Visit(back).after == [other]


def test_focus_is_told_anew(world: RecoveringWorld) -> None:
    """Whether somebody looks is what the client says now (realtime.md A.14 rule 4)."""
    peer, before = entered(world, **PHONE, appState="active")
    back, visit = world.enter(**PHONE, **before.returning, appState="background")
    assert visit.pid == before.pid
    assert not world.server.hub.viewing("ann")
    world.lose(back)
    peer.drop()
    _, visit = world.enter(**PHONE, **before.returning, appState="active")
    assert visit.pid == before.pid
    assert world.server.hub.viewing("ann")


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "half-open"])
@pytest.mark.parametrize(
    "change",
    [
        {"pid": "unknown"},
        {"pid": None},
        {"pid": ["x"]},
        {"offset": None},
        {"offset": ""},
        {"offset": 1},
        {"offset": {}},
        {"offset": "x-1"},
        {"token": "a.token.of-bob"},
        {"clientType": "user-scoped"},
        {"clientType": "session-scoped", "sessionId": "s"},
        {"clientType": "session-scoped", "sessionId": "t"},
        {"clientType": "machine-scoped", "machineId": "s"},
    ],
    ids=str,
)
def test_begins_anew(world: RecoveringWorld, change: dict[str, Any], lost: bool) -> None:
    """Without all of what belongs to it, a client is a new one."""
    peer, before = entered(world)
    if lost:
        world.lose(peer)
    world.tell()
    _, visit = world.enter(**before.returning | change)
    assert visit.before == []
    assert visit.pid not in (None, before.pid)
    assert visit.sid not in (None, before.sid)
    if not lost:
        world.clock.advance(0)
        assert not peer.closed


@pytest.mark.parametrize("auth", [{"token": "forged"}, {"token": None}, {"clientType": "machine-scoped"}])
def test_refused(world: RecoveringWorld, auth: dict[str, Any]) -> None:
    """Who is refused is refused, whatever it continues; and the right one may still come back."""
    peer, before = entered(world)
    world.lose(peer)
    refused = world.asking({"token": TOKEN, **before.returning, **auth})
    assert refused.texts()[0].startswith("44")
    _, visit = world.enter(**before.returning)
    assert visit.pid == before.pid


def test_in_good_order(world: RecoveringWorld) -> None:
    """One that said goodbye is a new one when it comes back."""
    peer, before = entered(world)
    peer.text("41")
    world.lose(peer)
    _, visit = world.enter(**before.returning)
    assert visit.pid != before.pid


def test_too_late(world: RecoveringWorld) -> None:
    """After two minutes nobody is waited for, and nothing is kept."""
    peer, before = entered(world)
    world.lose(peer)
    world.clock.advance(KEPT_SECONDS)
    _, visit = world.enter(**before.returning)
    assert visit.pid != before.pid
    assert world.server.hub.recovery is not None
    assert world.server.hub.recovery.replay.size == 0


def test_an_old_offset(world: RecoveringWorld) -> None:
    """A client that heard nothing for long has missed nothing, and one that did has to begin anew."""
    peer, before = entered(world)
    other, _ = world.enter()
    for _ in range(int(KEPT_SECONDS)):
        world.clock.advance(10)
        peer.text("3")
        other.text("3")
    world.lose(peer)
    back, visit = world.enter(**before.returning)
    assert (visit.pid, visit.before) == (before.pid, [])
    world.tell()
    for _ in range(int(KEPT_SECONDS)):
        world.clock.advance(10)
        back.text("3")
        other.text("3")
    world.lose(back)
    _, visit = world.enter(**before.returning)
    assert (visit.pid != before.pid, visit.before) == (True, [])


def test_on_polling(world: RecoveringWorld) -> None:
    """It works over polling just the same."""
    peer, before = entered(world)
    world.lose(peer)
    missed = world.tell()
    poller = PollingPeer(world.site, world.clock, world.settings.path)
    poller.post(b"40" + json.dumps({"token": TOKEN, **before.returning}).encode())
    event, reply = poller.poll().packets
    assert json.loads(event[2:])[1]["seq"] == missed
    assert json.loads(reply[2:]) == {"sid": before.sid, "pid": before.pid}


def test_nothing_is_kept_for_nobody(world: RecoveringWorld) -> None:
    """When the last client has left for good, its account's log goes."""
    peer, _ = entered(world)
    recovery = world.server.hub.recovery
    assert recovery is not None
    assert recovery.replay.size > 0
    peer.text("41")
    assert recovery.replay.size == 0
    assert recovery._live == {}


def test_stopping(world: RecoveringWorld) -> None:
    """A stopped server holds on to no timer of recovery."""
    peer, _ = entered(world)
    world.lose(peer)
    world.endpoint.stop()
    world.happy.stop()
    assert [call for call in world.clock.getDelayedCalls() if "_expire" in str(call)] == []
    assert [call for call in world.clock.getDelayedCalls() if "_sweep" in str(call)] == []


def test_no_event_ends_in_a_text() -> None:
    """No event carries a bare text, which clients would take for an offset (realtime.md A.14 rule 5)."""
    emissions = [one for capability in CAPABILITIES for one in capability.emissions if one.answer is None]
    assert {one.name for one in emissions} >= {"update", "ephemeral", "rpc-registered"}
    for one in emissions:
        shape = getattr(one.shape, "__origin__", one.shape)
        assert issubclass(shape, Struct), one.name


@pytest.mark.parametrize("back", [True, False])
def test_lost_ones_count(world: RecoveringWorld, back: bool) -> None:
    """What is remembered of a lost client counts until it is back, or may not come back any more."""
    peer, visit = entered(world)
    recovery = world.server.hub.recovery
    assert recovery is not None
    assert recovery._room.used == 0
    world.lose(peer)
    assert recovery._room.used > 0
    if back:
        world.enter(**visit.returning)
    else:
        world.clock.advance(KEPT_SECONDS + 1)
    assert recovery._room.used == 0


def test_no_room_to_remember(world: RecoveringWorld) -> None:
    """Of the last client of an account nothing is left either when there is no room to remember it."""
    peer, _ = entered(world)
    recovery = world.server.hub.recovery
    assert recovery is not None
    recovery._room = Budget(2 * (LOST_COST + len("method")))
    peer.text('42["rpc-register",{"method":"a method"}]')
    assert recovery.replay.size > 0
    world.lose(peer)
    assert (recovery.replay.size, recovery._room.used, recovery._lost) == (0, 0, {})
