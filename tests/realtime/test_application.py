"""Who may connect, what a connection hears, and what its end means."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred, TimeoutError

from happy.keys.access import SeenPairing
from happy.keys.tokens import Bearer
from happy.realtime.application import OFFLINE_AFTER_SECONDS
from happy.realtime.updates import DeleteSession, Update, watchers_of_session
from happy.settings.config import Config
from tests.realtime.happy_world import MACHINE, TOKEN, HappyWorld, activity, said

MISSING = "Missing authentication token"
NO_SESSION = "Session ID required for session-scoped clients"
NO_MACHINE = "Machine ID required for machine-scoped clients"
INVALID = "Invalid authentication token"


@pytest.fixture
def world() -> HappyWorld:
    return HappyWorld()


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        (None, MISSING),
        ({}, MISSING),
        ({"token": ""}, MISSING),
        ({"token": None, "clientType": "session-scoped"}, MISSING),
        ({"token": 0}, MISSING),
        ({"token": False}, MISSING),
        ({"token": 5}, INVALID),
        ({"token": []}, INVALID),
        ({"token": {"sub": "ann"}}, INVALID),
        ({"token": "forged"}, INVALID),
        ({"token": "forged", "clientType": "session-scoped"}, NO_SESSION),
        ({"token": TOKEN, "clientType": "session-scoped", "sessionId": ""}, NO_SESSION),
        ({"token": TOKEN, "clientType": "session-scoped", "sessionId": 7, "machineId": "m"}, NO_SESSION),
        ({"token": 5, "clientType": "machine-scoped"}, NO_MACHINE),
        ({"token": TOKEN, "clientType": "machine-scoped", "machineId": ["m"]}, NO_MACHINE),
        ({"token": "forged", "clientType": "machine-scoped", "machineId": "m"}, INVALID),
    ],
)
def test_refused(world: HappyWorld, auth: Any, message: str) -> None:
    """Whoever is not let in hears why, in the contract's words, and may try again on the same connection."""
    peer = world.asking(auth)
    assert peer.texts() == ["44" + json.dumps({"message": message}, separators=(",", ":"))]
    peer.text("40" + json.dumps({"token": TOKEN}))
    assert peer.texts()[0].startswith('40{"sid":')


class OtherNodes:
    """Others that have nobody; an account is heard of when ``hosting`` fires, or already."""

    everywhere = None

    def __init__(self, hosting: Deferred[None] | None = None) -> None:
        self.hosting = hosting

    def host(self, account: str) -> Deferred[None] | None:
        return self.hosting

    def had(self, pid: object, offset: object) -> None:
        """Nobody comes from there."""


def test_nothing_is_missed() -> None:
    """A client is let in when what other nodes tell its account is heard, and at once where it is."""
    hosting: Deferred[None] = Deferred()
    world = HappyWorld(others=OtherNodes(hosting))
    peer = world.asking({"token": TOKEN})
    assert peer.texts() == []
    hosting.callback(None)
    assert peer.texts()[0].startswith('40{"sid":')
    assert HappyWorld(others=OtherNodes()).client()


def test_quota_of_those_who_waited_together() -> None:
    """Clients that are let in later are no more than the operator lets an account have either."""
    others = OtherNodes()
    world = HappyWorld(others=others)
    world.server.config = Config(account_sockets=2)
    hostings: list[Deferred[None]] = []
    peers = []
    for members in ({}, {"clientType": "session-scoped", "sessionId": "s"}, MACHINE):
        others.hosting = Deferred()
        hostings.append(others.hosting)
        peers.append(world.asking({"token": TOKEN, **members}))
    for hosting in hostings:
        hosting.callback(None)
    assert ["Too many connections" in peer.texts()[-1] for peer in peers] == [False, False, True]


def test_not_heard_in_time() -> None:
    """A client whose account is not heard of in time is sent away, to try again."""
    hosting: Deferred[None] = Deferred()
    world = HappyWorld(others=OtherNodes(hosting))
    peer = world.asking({"token": TOKEN})
    hosting.errback(TimeoutError())
    assert peer.closing() == 1005


@pytest.mark.parametrize(
    ("issued", "noted"), [(0.0, 0.0), (7.0, 7.0), (10.0, 10.0), (-1.0, 10.0), (11.0, 10.0)]
)
def test_pairings_are_noted(
    world: HappyWorld, monkeypatch: pytest.MonkeyPatch, issued: float, noted: float
) -> None:
    """Who comes with a pairing's token was seen now, whatever time the token claims; nobody else is noted."""
    world.clock.advance(10 - world.clock.seconds())
    world.client(**MACHINE)
    access = world.server.tokens.access
    assert access.take_seen() == {}
    bearer = Bearer(sub="ann", iss="handy", iat=issued, session="pairing")
    monkeypatch.setattr(world.server.tokens, "identify", lambda token: bearer)
    world.client(**MACHINE)
    assert access.take_seen() == {"pairing": SeenPairing("ann", noted, 10.0, "m")}
    world.client()
    assert access.take_seen() == {"pairing": SeenPairing("ann", noted, 10.0, None)}


@pytest.mark.parametrize(
    "auth",
    [
        {"happyClient": 5},
        {"happyClient": {"a": []}, "appState": 5},
        {"clientType": 9},
        {"clientType": "root-scoped", "sessionId": [], "machineId": {}},
        {"appState": ["active"], "surplus": {"__proto__": None}},
        {"clientType": "user-scoped", "sessionId": 5},
    ],
)
def test_wrong_types_do_not_matter(world: HappyWorld, auth: dict[str, Any]) -> None:
    """Of what is optional a wrong type counts as absent; an unknown scope is the whole account's (D-10)."""
    peer = world.client(**auth)
    audience = watchers_of_session("ann", "s")
    world.server.hub.deliver(
        Update(audience=audience, seq=1, body=DeleteSession(sid="s"), created_at=5, skip=None)
    )
    assert [name for name, _ in said(peer)] == ["update"]
    assert not world.server.hub.viewing("ann")


def test_undecided(world: HappyWorld) -> None:
    """Where nobody can tell whether a token is good, the connection ends without a reply (D-19)."""
    peer = world.asking({"token": "breaks"})
    assert peer.closing() == 1005
    assert peer.messages() == []


def test_nothing_before_the_reply(world: HappyWorld) -> None:
    """A client that announces itself hears its own CONNECT reply first."""
    phone = world.client()
    world.client(**MACHINE)
    assert activity(phone) == [True]


def test_scopes(world: HappyWorld) -> None:
    """A client hears what its scope watches, in its own account, and nothing else."""
    phone, other = world.client(), world.client(clientType="session-scoped", sessionId="t")
    terminal = world.client(clientType="session-scoped", sessionId="s")
    stranger = world.asking({"token": "a.token.of-bob", "clientType": "session-scoped", "sessionId": "s"})
    stranger.receive()
    audience = watchers_of_session("ann", "s")
    world.server.hub.deliver(
        Update(audience=audience, seq=1, body=DeleteSession(sid="s"), created_at=5, skip=None)
    )
    assert [len(said(peer)) for peer in (phone, terminal, other, stranger)] == [1, 1, 0, 0]


def test_last_socket_of_a_machine(world: HappyWorld) -> None:
    """A machine is offline when its last connection has gone, not before (D-8)."""
    phone, first, second = world.client(), world.client(**MACHINE), world.client(**MACHINE)
    assert activity(phone) == [True, True]
    world.leave(first)
    assert activity(phone) == []
    world.leave(second)
    assert activity(phone) == [False]


def test_late_death_of_a_predecessor(world: HappyWorld) -> None:
    """A half-open connection that times out after its machine came back says nothing (D-8)."""
    phone, old = world.client(), world.client(**MACHINE)
    new = world.client(**MACHINE)
    assert activity(phone) == [True, True]
    world.lose(old)
    world.clock.advance(OFFLINE_AFTER_SECONDS)
    assert activity(phone) == []
    world.leave(new)
    assert activity(phone) == [False]


def test_lost_machine_has_a_moment(world: HappyWorld) -> None:
    """A machine that the network took is offline only if it stays away (D-22)."""
    phone, machine = world.client(), world.client(**MACHINE)
    world.lose(machine)
    world.clock.advance(OFFLINE_AFTER_SECONDS - 0.1)
    assert activity(phone) == [True]
    world.clock.advance(0.1)
    assert activity(phone) == [False]


def test_machine_comes_back(world: HappyWorld) -> None:
    """One that is back in time was never offline, also when it leaves again after that."""
    phone, machine = world.client(), world.client(**MACHINE)
    world.lose(machine)
    world.clock.advance(OFFLINE_AFTER_SECONDS / 2)
    again = world.client(**MACHINE)
    world.clock.advance(OFFLINE_AFTER_SECONDS)
    assert activity(phone) == [True, True]
    world.lose(again)
    world.clock.advance(OFFLINE_AFTER_SECONDS)
    assert activity(phone) == [False]


def test_shutdown_announces_nothing(world: HappyWorld) -> None:
    """When the server stops, nobody hears that machines went offline; they will be back (D-22)."""
    machine, phone, lost = world.client(**MACHINE), world.client(), world.client(**MACHINE)
    assert activity(phone) == [True]
    world.lose(lost)
    world.lose(machine)
    world.endpoint.stop()
    world.happy.stop()
    assert activity(phone) == []
    phone.drop()
    assert [call for call in world.clock.getDelayedCalls() if "_stayed_away" in str(call)] == []


def test_shutdown_with_a_machine_online(world: HappyWorld) -> None:
    """A machine that the shutdown itself disconnects is not reported either."""
    machine, phone = world.client(**MACHINE), world.client()
    world.endpoint.stop()
    assert activity(phone) == []
    assert machine.closing() == 1005
    assert world.happy._leaving == {}


def test_a_session_leaves_in_silence(world: HappyWorld) -> None:
    """Nobody is told of connections of sessions and devices."""
    phone, terminal = world.client(), world.client(clientType="session-scoped", sessionId="s")
    second = world.client()
    world.leave(terminal)
    world.lose(second)
    world.clock.advance(OFFLINE_AFTER_SECONDS)
    assert said(phone) == []


@pytest.mark.parametrize(
    ("auth", "looking"),
    [
        ({"clientType": "user-scoped", "appState": "active"}, True),
        ({"clientType": "user-scoped", "appState": "background"}, False),
        ({"clientType": "user-scoped", "appState": "ACTIVE"}, False),
        ({"clientType": "user-scoped", "appState": {"state": "active"}}, False),
        ({"clientType": "user-scoped"}, False),
        ({"appState": "active"}, False),
        ({"clientType": "session-scoped", "sessionId": "s", "appState": "active"}, False),
    ],
)
def test_initial_focus(world: HappyWorld, auth: dict[str, Any], looking: bool) -> None:
    """Only a declared user-scoped client that says it is active counts as somebody looking (B.10)."""
    world.client(**auth)
    assert world.server.hub.viewing("ann") is looking


def test_focus_follows_the_client(world: HappyWorld) -> None:
    """app-state changes the focus, whatever is malformed means background, and it dies with the socket."""
    peer = world.client(clientType="user-scoped")
    for data, looking in (
        ('{"state":"active"}', True),
        ('{"state":"background"}', False),
        ('{"state":"active","x":1},2', True),
        ('"active"', False),
        ('{"state":"active"}', True),
        ('{"state":["active"]}', False),
        ('{"state":"active"}', True),
        ("null", False),
    ):
        peer.text(f'421["app-state",{data}]')
        assert world.server.hub.viewing("ann") is looking, data
    peer.text('42["app-state",{"state":"active"}]')
    assert world.server.hub.viewing("ann")
    assert peer.texts() == []
    world.lose(peer)
    assert not world.server.hub.viewing("ann")
