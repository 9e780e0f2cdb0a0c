"""What is told to an account with thousands of clients, or told too often, in turn with all others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from happy.api.portions import LARGE, in_portions
from happy.base.bounds import CROWDED_OUT, OVER_SHARE, Budget
from happy.base.pace import PORTION_SECONDS, QUEUE_SECONDS, TURN_SECONDS, Pace
from happy.metrics import Metrics
from happy.realtime import hub, lines
from happy.realtime.client import Client
from happy.realtime.hub import AT_ONCE, BYTES_AT_ONCE, Hub
from happy.realtime.recovery import Recovery
from happy.realtime.updates import (
    Activity,
    DeleteSession,
    Encrypted,
    Message,
    NewMessage,
    TextVersion,
    Update,
    UpdateSession,
    devices_of,
    encode_update,
)
from tests.realtime.clients import MemoryLink, bodies, connect, events, packets
from tests.socketio.peers import TurningClock

SEND_SECONDS = 5e-5
PIECE_SECONDS = AT_ONCE * SEND_SECONDS


class BusyWorld:
    """A hub whose clients each take a moment to be told something."""

    def __init__(self, **crowds: int) -> None:
        self.clock = TurningClock()
        self.pace = Pace(self.clock)
        self.metrics = Metrics(CollectorRegistry())
        self.recovery = Recovery(self.clock)
        self.hub = Hub(self.metrics, self.recovery, self.pace)
        self.crowds = {account: [self.client(account) for _ in range(n)] for account, n in crowds.items()}
        self.seqs: dict[str, int] = {}
        self.byte_seconds = 0.0

    def client(self, account: str) -> Client:
        client = connect(account)
        link: Any = client.socket._link

        def send(packet: Any) -> None:
            self.clock.rightNow += SEND_SECONDS + len(packet.frames) * self.byte_seconds
            MemoryLink.send(link, packet)

        link.send = send
        self.recovery.enter(client)
        self.hub.add(client)
        return client

    def deliver(self, account: str) -> None:
        """The account's next update."""
        self.seqs[account] = self.seqs.get(account, 0) + 1
        body = DeleteSession(sid="s")
        self.hub.deliver(
            Update(audience=devices_of(account), seq=self.seqs[account], body=body, created_at=5)
        )

    def signal(self, account: str, id: str, at: int) -> None:
        self.hub.signal(devices_of(account), Activity(id=id, active=True, active_at=at, thinking=False))

    def turn(self) -> float:
        """One turn of the reactor; how long it took."""
        self.pace.begin()
        before = self.clock.seconds()
        self.clock.advance(0)
        return self.clock.seconds() - before

    def finish(self) -> float:
        """As many turns as it takes; how long the longest was."""
        longest = 0.0
        for _ in range(10_000):
            if not self.hub._lines._lines:
                return longest
            longest = max(longest, self.turn())
        raise AssertionError("it never ends")


def seqs(client: Client) -> list[int]:
    """The numbers of the updates that a client heard."""
    return [argument["seq"] for name, argument in events(client) if name == "update"]


def test_no_turn_is_long() -> None:
    """Neither many clients nor many updates hold the reactor; everybody hears everything, in order."""
    world = BusyWorld(large=2_000)
    before = world.clock.seconds()
    for _ in range(20):
        world.deliver("large")
    assert world.clock.seconds() - before <= TURN_SECONDS + PIECE_SECONDS
    assert world.finish() <= QUEUE_SECONDS + PORTION_SECONDS + PIECE_SECONDS
    assert {tuple(seqs(client)) for client in world.crowds["large"]} == {tuple(range(1, 21))}


def test_large_updates() -> None:
    """A turn is no longer where what is told to fewer clients takes the system long to copy."""
    world = BusyWorld(large=AT_ONCE)
    world.byte_seconds = 4e-9
    size = BYTES_AT_ONCE // 3
    piece = 3 * (SEND_SECONDS + 1.01 * size * world.byte_seconds)
    body = UpdateSession(id="s", metadata=TextVersion("x" * size, 1))
    before = world.clock.seconds()
    world.hub.deliver(Update(audience=devices_of("large"), seq=1, body=body, created_at=5))
    assert world.clock.seconds() - before <= TURN_SECONDS + piece
    assert world.finish() <= QUEUE_SECONDS + PORTION_SECONDS + piece
    assert {tuple(seqs(client)) for client in world.crowds["large"]} == {(1,)}


def test_others_do_not_wait() -> None:
    """While a large account is being told something, a small one hears what is meant for it at once."""
    world = BusyWorld(large=2_000, small=2)
    for _ in range(20):
        world.deliver("large")
    world.pace.begin()
    world.deliver("small")
    assert [seqs(client) for client in world.crowds["small"]] == [[1], [1]]


def test_others_wait_for_one_portion() -> None:
    """In a turn that is over, what is meant for a small account comes in its turn, which is near."""
    world = BusyWorld(large=2_000, small=1)
    for _ in range(20):
        world.deliver("large")
    world.deliver("small")
    assert seqs(world.crowds["small"][0]) == []
    world.turn()
    assert seqs(world.crowds["small"][0]) == [1]


def test_answers_follow() -> None:
    """What is to happen after an update happens when the last client has it, not before."""
    world = BusyWorld(large=2_000)
    answered: list[list[int]] = []
    for _ in range(3):
        world.deliver("large")
        world.hub.after("large", lambda: answered.append(seqs(world.crowds["large"][-1])))
    told = world.hub.told("large")
    assert told is not None
    told.addCallback(lambda _: answered.append([]))
    world.finish()
    assert answered == [[1], [1, 2], [1, 2, 3], []]
    assert world.hub.told("large") is None


def test_what_follows_nothing() -> None:
    """What is to happen after nothing happens now while there is time, and else in a later turn."""
    world, happened = BusyWorld(small=1), list[str]()
    world.pace.begin()
    world.hub.after("small", happened.append, "now")
    world.clock.rightNow += TURN_SECONDS
    world.hub.after("small", happened.append, "later")
    assert happened == ["now"]
    world.finish()
    assert happened == ["now", "later"]
    Hub(Metrics(CollectorRegistry())).after("small", happened.append, "without bound")
    assert happened[2:] == ["without bound"]


def test_latest_signals() -> None:
    """Of signals that wait, each is told as it was at last, after the updates."""
    world = BusyWorld(large=300)
    world.deliver("large")
    for at in range(5):
        world.signal("large", "s", at)
        world.signal("large", "t", at)
    world.deliver("large")
    world.finish()
    told = [body.get("activeAt", body.get("t")) for body in bodies(world.crowds["large"][0])]
    assert told == ["delete-session", "delete-session", 4, 4]


def test_waiting_signals() -> None:
    """Signals wait from when they are put back until they are told."""
    world = BusyWorld(large=300)
    world.deliver("large")
    assert not world.hub.withholds("large")
    world.signal("large", "s", 1)
    assert world.hub.withholds("large")
    world.finish()
    assert not world.hub.withholds("large")


def test_too_many_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many signals wait; those that find no room are counted."""
    monkeypatch.setattr(lines, "MOST_SIGNALS", 3)
    world = BusyWorld(large=300)
    world.deliver("large")
    for number in range(5):
        world.signal("large", str(number), 1)
    world.finish()
    told = [body["id"] for body in bodies(world.crowds["large"][0]) if "id" in body]
    assert told == ["0", "1", "2"]
    assert world.metrics.registry.get_sample_value("happy_signals_dropped_total") == 2


def test_a_fault() -> None:
    """What fails for one thing does not keep back the next."""
    world = BusyWorld(large=300)
    world.deliver("large")
    happened: list[str] = []
    world.hub.after("large", lambda: {}["missing"])
    world.hub.after("large", lambda: happened.append("next"))
    world.finish()
    assert happened == ["next"]


STEPS = st.lists(
    st.sampled_from(("deliver", "deliver", "signal", "turn", "old turn", "leave", "come back", "come")),
    max_size=40,
)


@given(STEPS)
def test_each_hears_what_it_should(steps: list[str]) -> None:
    """Whoever stays or recovers hears every update once and in order, whatever happens meanwhile."""
    world = BusyWorld(large=130)
    [*_, wanderer] = world.crowds["large"]
    heard: list[int] = []
    gone = False
    for number, step in enumerate(steps):
        if step == "deliver":
            world.deliver("large")
        elif step == "signal":
            world.signal("large", "s", number)
        elif step == "turn":
            world.turn()
        elif step == "old turn":
            world.clock.rightNow += TURN_SECONDS
        elif step == "come":
            world.client("large")
        elif step == "leave" and not gone and events(wanderer):
            gone = True
            heard += seqs(wanderer)
            wanderer.socket.gone()
            world.hub.remove(wanderer)
            world.recovery.leave(wanderer, "transport error")
        elif step == "come back" and gone:
            gone = False
            wanderer = _recovered(world, wanderer)
    if gone:
        wanderer = _recovered(world, wanderer)
    world.finish()
    assert heard + seqs(wanderer) == list(range(1, world.seqs.get("large", 0) + 1))
    assert seqs(world.crowds["large"][0]) == list(range(1, world.seqs.get("large", 0) + 1))


def _recovered(world: BusyWorld, former: Client) -> Client:
    """The client on a new socket, to which it is sent what it missed."""
    link: Any = former.socket._link
    offset = link.packets[-1].text.decode().rsplit('"', 2)[1]
    client = connect("large")
    resumed = world.recovery.resume(client, former.pid, offset)
    assert resumed is not None
    world.hub.add(client)
    for packet in resumed.missed:
        client.socket.send(packet)
    return client


@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize("recovered", [True, False])
def test_large_update(recovered: bool, encoded: bool) -> None:
    """A large update is encoded in portions, while others are told; what comes after it stays after it."""
    world = BusyWorld(much=2, little=1)
    if not recovered:
        world.hub.recovery = None
    world.pace.begin()
    world.clock.rightNow += TURN_SECONDS
    text = "x" * (4 * LARGE)
    message = Message(id="m", seq=1, content=Encrypted(c=text), local_id=None, created_at=1, updated_at=1)
    first, second = world.crowds["much"]
    audience, body = devices_of("much"), NewMessage(sid="s", message=message)
    update = Update(audience=audience, seq=1, body=body, created_at=5, skip=first.socket)
    if encoded:
        world.hub.deliver_text(audience, encode_update(update), first.socket.id)
    else:
        world.hub.deliver(update)
    world.deliver("much")
    world.deliver("little")
    assert not bodies(second)
    late = world.client("much")
    for _ in range(200):
        world.clock.advance(0)
    assert [one["t"] for one in bodies(first)] == ["delete-session"]
    for client in (second, late):
        large, small = bodies(client)
        assert (large["message"]["content"]["c"], small["t"]) == (text, "delete-session")
    assert len(bodies(world.crowds["little"][0])) == 1
    offsets = {json.loads(text[2:])[2] for text in packets(second)} if recovered else set()
    assert len(offsets) == 2 * recovered


@pytest.mark.parametrize("reason", [None, OVER_SHARE, CROWDED_OUT])
def test_room_for_a_large_update(reason: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its account pays while it is written; where there is no room, whoever was to hear it begins anew."""
    refused: list[str] = []
    size, share = 16 * LARGE, LARGE if reason == OVER_SHARE else None
    memory = Budget(size, share=share, refused=refused.append)
    world = BusyWorld(much=2)
    world.hub.memory = memory

    def slowly(value: Any) -> Iterator[bytes]:
        for portion in in_portions(value):
            world.clock.rightNow += PORTION_SECONDS
            yield portion

    monkeypatch.setattr(hub, "in_portions", slowly)
    first, second = world.crowds["much"]
    world.deliver("much")
    offset = world.recovery.replay.offset("much")
    text = "x" * (LARGE * 3 // 2)
    message = Message(id="m", seq=1, content=Encrypted(c=text), local_id=None, created_at=1, updated_at=1)
    audience, body = devices_of("much"), NewMessage(sid="s", message=message)
    world.hub.deliver(Update(audience=audience, seq=2, body=body, created_at=5, skip=first.socket))
    used = [memory.used]
    while used[-1] or len(used) < 3:
        if used[-1] > LARGE and reason == CROWDED_OUT:
            assert all(memory.open(f"account:{n}", MemoryLink(memory)).take(LARGE) for n in range(15))
            reason, used = "", [1]
        world.clock.advance(0)
        used.append(memory.used_by("account:much"))
    for _ in range(9):
        world.clock.advance(0)
    links: list[Any] = [client.socket._link for client in (first, second)]
    assert [link.closed for link in links] == [False, reason is not None]
    assert [one["t"] for one in bodies(second)[1:]] == ["new-message"] * (reason is None)
    assert len(refused) == (reason is not None)
    assert max(used) > LARGE // 5 or reason == ""
    resumed = world.recovery.resume(world.client("much"), second.pid, offset)
    assert (resumed is None) == (reason is not None)
