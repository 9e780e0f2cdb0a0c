"""Happy on the realtime endpoint: who gets in, who is told, and what a hostile client achieves."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from wsproto.events import CloseConnection, TextMessage

from happy.capabilities import CAPABILITIES
from happy.metrics import Metrics
from happy.realtime import application
from happy.realtime.application import OFFLINE_AFTER_SECONDS, Realtime
from happy.realtime.calls import Calls
from happy.realtime.endpoint import RealtimeEndpoint
from happy.realtime.hub import Hub
from happy.realtime.updates import DeleteSession, Update, watchers_of_session
from tests.echo_server import echo_site
from tests.realtime.peers import WebSocketPeer
from tests.realtime.programs import World
from tests.toys import toy_server

TOKEN = "a.token.of-ann"
MACHINE = {"clientType": "machine-scoped", "machineId": "m"}


class Broken:
    """A database that refuses everything, with an error nobody foresaw."""

    linearizer = toy_server().database.linearizer

    async def read(self, work: object) -> None:
        raise RuntimeError("a value that must not be logged")

    async def transact(self, work: object, *, accounts: object = ()) -> None:
        raise RuntimeError("a value that must not be logged")


class HappyWorld(World):
    """The real application behind the real endpoint, with a database that fails, on a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics = Metrics(CollectorRegistry())
        self.server = toy_server(
            clock=self.clock,
            metrics=self.metrics,
            hub=Hub(self.metrics),
            calls=Calls(self.clock, self.metrics),
            database=Broken(),
        )
        events = [event for capability in CAPABILITIES for event in capability.events]
        self.happy = Realtime(self.server, events)
        self.endpoint = RealtimeEndpoint(self.happy, self.settings, self.clock)
        self.site = echo_site(self.endpoint, self.clock)

    def asking(self, auth: Any = None, **handshake: Any) -> WebSocketPeer:
        """A client that presents ``auth``; nothing of the answer is taken yet."""
        peer = self.websocket(joined=False, **handshake)
        peer.text("40" if auth is None else f"40{json.dumps(auth)}")
        return peer

    def client(self, **auth: Any) -> WebSocketPeer:
        """A client of ann's that got in."""
        peer = self.asking({"token": TOKEN, **auth})
        assert peer.texts()[0].startswith('40{"sid":')
        return peer

    def leave(self, peer: WebSocketPeer) -> None:
        """A client closes its connection in due form."""
        peer.send_event(CloseConnection(1000))
        peer.drop()
        self.clock.advance(0)

    def lose(self, peer: WebSocketPeer) -> None:
        """The network takes a client away."""
        peer.drop()
        self.clock.advance(0)


@pytest.fixture
def world() -> HappyWorld:
    return HappyWorld()


def said(peer: WebSocketPeer) -> list[Any]:
    """The arguments of the events that a client heard since the last time, each with its name."""
    came = [event.data for event in peer.receive() if isinstance(event, TextMessage)]
    return [json.loads(text[2:]) for text in came if text.startswith("42")]


def activity(peer: WebSocketPeer) -> list[bool]:
    """Whether its machine is online, as often as a client was told since the last time."""
    signals = [argument for name, argument in said(peer) if name == "ephemeral"]
    assert all(signal["type"] == "machine-activity" and signal["id"] == "m" for signal in signals)
    return [signal["active"] for signal in signals]


MISSING = "Missing authentication token"
NO_SESSION = "Session ID required for session-scoped clients"
NO_MACHINE = "Machine ID required for machine-scoped clients"
INVALID = "Invalid authentication token"


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
    world.endpoint.close_all()
    world.happy.stop()
    assert activity(phone) == []
    phone.drop()
    assert [call for call in world.clock.getDelayedCalls() if "_stayed_away" in str(call)] == []


def test_shutdown_with_a_machine_online(world: HappyWorld) -> None:
    """A machine that the shutdown itself disconnects is not reported either."""
    machine, phone = world.client(**MACHINE), world.client()
    world.endpoint.close_all()
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


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ('421["ping"]', ["431[{}]"]),
        ('421["ping",{"a":1},"surplus",[]]', ["431[{}]"]),
        ('42["ping"]', []),
        ('421["nobody-declared-this",{}]', []),
        ('421["__init__",{}]', []),
        ('42["update-metadata",{},"not an acknowledgement"]', []),
        ('421["update-metadata",{},"not an acknowledgement"]', ['431[{"result":"error"}]']),
        ('421["update-metadata"]', ['431[{"result":"error"}]']),
        ('421["update-metadata",null]', ['431[{"result":"error"}]']),
        ('421["update-metadata",[{"sid":"s"}]]', ['431[{"result":"error"}]']),
        (
            '421["rpc-call",{"method":5}]',
            ['431[{"ok":false,"error":"Invalid parameters: method is required"}]'],
        ),
        (
            '421["rpc-call",{"method":{"toString":5}},"x"]',
            ['431[{"ok":false,"error":"Invalid parameters: method is required"}]'],
        ),
        ('421["session-alive",{"sid":"s","time":"now"}]', []),
        ('421["message",{"sid":{"not":"s"},"message":"m"}]', []),
        ('42["rpc-register",{"method":{}}]', ["rpc-error"]),
        ('421["rpc-register",{"method":"m"}]', ["rpc-registered"]),
    ],
)
def test_wrong_types_in_events(world: HappyWorld, sent: str, answered: list[str]) -> None:
    """Whatever an event carries gets the answer of the contract, and the connection goes on (D-10)."""
    peer = world.client()
    peer.text(sent)
    came = [text if text.startswith("43") else json.loads(text[2:])[0] for text in peer.texts()]
    assert came == answered
    peer.text('422["ping"]')
    assert peer.texts() == ["432[{}]"]


def test_registered_before_called(world: HappyWorld) -> None:
    """A target that somebody waits for hears first that it is registered, and then of the call."""
    caller, target = world.client(), world.client()
    caller.text('421["rpc-call",{"method":"m"}]')
    target.text('42["rpc-register",{"method":"m"}]')
    world.clock.advance(0)
    assert target.texts() == ['42["rpc-registered",{"method":"m"}]', '420["rpc-request",{"method":"m"}]']


def test_numbers_beyond_floats(world: HappyWorld) -> None:
    """What nobody asked for in a handshake may be any JSON."""
    peer = world.websocket(joined=False)
    peer.text(f'40{{"token":"{TOKEN}","x":[1e999,1e-999,{"9" * 500}]}}')
    assert peer.texts()[0].startswith('40{"sid":')


REGISTRATIONS = [
    ("42[%s]", "Internal error"),
    ("42[%s,null]", "Internal error"),
    ("421[%s]", "Invalid method name"),
    ('42[%s,"m"]', "Invalid method name"),
    ("42[%s,[]]", "Invalid method name"),
    ('42[%s,{"method":""}]', "Invalid method name"),
    ('42[%s,{"method":5}]', "Invalid method name"),
]


@pytest.mark.parametrize("kind", ["register", "unregister"])
@pytest.mark.parametrize(("sent", "error"), REGISTRATIONS)
def test_nameless_registrations(world: HappyWorld, kind: str, sent: str, error: str) -> None:
    """Whoever names no method is told so; no data at all is another kind of fault (B.7)."""
    peer = world.client()
    peer.text(sent % f'"rpc-{kind}"')
    assert said(peer) == [["rpc-error", {"type": kind, "error": error}]]


FAILURES = {
    "update-metadata": ({"sid": "s", "metadata": "m", "expectedVersion": 0}, {"result": "error"}),
    "update-state": ({"sid": "s", "agentState": None, "expectedVersion": 0}, {"result": "error"}),
    "usage-report": (
        {"key": "k", "tokens": {"total": 1}, "cost": {"total": 1}},
        {"success": False, "error": "Failed to save usage report"},
    ),
    "machine-update-metadata": (
        {"machineId": "m", "metadata": "m", "expectedVersion": 0},
        {"result": "error", "message": "Internal error"},
    ),
    "machine-update-state": (
        {"machineId": "m", "daemonState": "d", "expectedVersion": 0},
        {"result": "error", "message": "Internal error"},
    ),
    "artifact-read": ({"artifactId": "a"}, {"result": "error", "message": "Internal error"}),
    "artifact-create": (
        {"id": "a", "header": "", "body": "", "dataEncryptionKey": ""},
        {"result": "error", "message": "Internal error"},
    ),
    "artifact-update": (
        {"artifactId": "a", "header": {"data": "", "expectedVersion": 1}},
        {"result": "error", "message": "Internal error"},
    ),
    "artifact-delete": ({"artifactId": "a"}, {"result": "error", "message": "Internal error"}),
    "access-key-get": (
        {"sessionId": "s", "machineId": "m"},
        {"ok": False, "error": "Internal error"},
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_are_answered(world: HappyWorld, name: str) -> None:
    """An event with a defined acknowledgement is answered even when everything behind it fails (D-5)."""
    data, answer = FAILURES[name]
    peer = world.client()
    peer.text(f'421["{name}",{json.dumps(data)}]')
    (text,) = peer.texts()
    assert json.loads(text[3:]) == [answer]


def test_every_acknowledged_event_has_a_failure() -> None:
    """The list above holds every event that can fail and is acknowledged; ping and calls need no database."""
    events = [event for capability in CAPABILITIES for event in capability.events if event.acks]
    assert {event.name for event in events} == FAILURES.keys() | {"ping", "rpc-call"}


def test_too_many_events_at_once(world: HappyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that starts more than the server will have under way is dropped, and only it (D-21)."""
    monkeypatch.setattr(application, "MAX_HANDLERS", 3)
    never: Deferred[None] = Deferred()
    world.server.database = SimpleNamespace(  # type: ignore[misc]
        linearizer=Broken.linearizer, transact=lambda *_, **__: never, read=lambda *_: never
    )
    flood, other = world.client(), world.client()
    for _ in range(3):
        flood.text('421["artifact-read",{"artifactId":"a"}]')
        other.text('42["ping"]')
    assert not flood.closed
    flood.text('421["artifact-read",{"artifactId":"a"}]')
    world.clock.advance(0)
    assert flood.closing() == 1005
    assert not other.closed


@pytest.mark.parametrize("bound", ["MAX_HANDLED_BYTES", "MAX_HANDLED_BY_ALL"])
def test_too_many_bytes_at_once(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    """A client whose events under way are too large together is dropped; what ended counts no more (D-21)."""
    monkeypatch.setattr(application, bound, 1000)
    world = HappyWorld()
    waiting: list[Deferred[None]] = []

    def wait(*_: object, **__: object) -> Deferred[None]:
        waiting.append(Deferred())
        return waiting[-1]

    world.server.database = SimpleNamespace(  # type: ignore[misc]
        linearizer=Broken.linearizer, transact=wait, read=wait
    )
    client = world.client()
    event = '421["artifact-read",{"artifactId":"%s"}]' % ("a" * 400)
    client.text(event, event)
    waiting.pop().errback(RuntimeError("away"))
    client.text(event)
    assert not client.closed
    client.text(event)
    world.clock.advance(0)
    assert client.closing() == 1005


def test_counted(world: HappyWorld) -> None:
    """Connections and the events that the contract counts carry the client's bounded labels."""

    def value(metric: Any, *labels: str) -> float:
        return float(metric.labels(*labels)._value.get())

    peer = world.asking({"token": TOKEN}, extra_headers=[(b"X-Happy-Client", b"ios/1.2.3")])
    peer.text('42["artifact-read",{}]', '42["ping"]', '42["session-alive",5]')
    connections = world.metrics.websocket_connections_total
    assert value(connections, "user-scoped", "ios/1.2.3", "ios") == 1
    world.lose(peer)
    assert value(connections, "user-scoped", "ios/1.2.3", "ios") == 0
    events = world.metrics.websocket_events_total
    for name, times in {"artifact-read": 1, "ping": 0, "session-alive": 1, "disconnect": 1}.items():
        assert value(events, name, "ios/1.2.3", "ios") == times
    assert world.metrics.session_alive_events_total._value.get() == 1


def test_handshake_names_the_client_first(world: HappyWorld) -> None:
    """What a client says in its handshake goes before what its request said."""
    auth = {"token": TOKEN, "happyClient": "web/1.0.0"}
    world.asking(auth, extra_headers=[(b"X-Happy-Client", b"ios/1.2.3")])
    gauge = world.metrics.websocket_connections_total.labels("user-scoped", "web/1.0.0", "web")
    assert gauge._value.get() == 1
