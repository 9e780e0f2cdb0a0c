"""Events of connections on their way to handlers: wrong types, failures, too many, counting."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs

from happy.api.portions import sliced
from happy.base.bounds import Budget
from happy.base.pace import TURN_SECONDS
from happy.capabilities import CAPABILITIES
from happy.capabilities.artifact_events import ArtifactFound, SharedArtifact
from happy.realtime import application
from happy.storage.types import Millis
from tests.realtime.happy_world import TOKEN, Broken, HappyWorld, said
from tests.socketio.peers import call_id


@pytest.fixture
def world() -> HappyWorld:
    return HappyWorld()


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


def test_late_answer(world: HappyWorld) -> None:
    """What a target acknowledges after it connected again does not answer a call of its new connection."""
    caller, gone = world.client(), world.client()
    gone.text('42["rpc-register",{"method":"m"}]')
    caller.text('421["rpc-call",{"method":"m"}]')
    late = call_id(gone.texts()[-1], "rpc-request")
    world.lose(gone)
    caller.texts()
    back = world.client()
    back.text('42["rpc-register",{"method":"m"}]')
    caller.text('422["rpc-call",{"method":"m"}]')
    back.text(f'43{late}["late"]')
    assert caller.texts() == []
    number = call_id(back.texts()[-1], "rpc-request")
    assert number not in (late, late + 1)
    back.text(f'43{number}["answer"]')
    assert caller.texts() == ['432[{"ok":true,"result":"answer"}]']


def test_registered_before_called(world: HappyWorld) -> None:
    """A target that somebody waits for hears first that it is registered, and then of the call."""
    caller, target = world.client(), world.client()
    caller.text('421["rpc-call",{"method":"m"}]')
    target.text('42["rpc-register",{"method":"m"}]')
    world.clock.advance(0)
    registered, call = target.texts()
    assert registered == '42["rpc-registered",{"method":"m"}]'
    assert call_id(call, "rpc-request")


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
        linearizer=Broken.linearizer, transact=lambda *_, **__: never, read=lambda *_, **__: never
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


@pytest.mark.parametrize("room", [True, False])
def test_large_acknowledgement(room: bool) -> None:
    """What holds much that is stored is written in portions, and paid for, while others are answered."""
    memory = Budget(2**24 if room else 2**21)
    world = HappyWorld(memory=memory)
    found = {"header": "", "header_version": 1, "body": sliced(bytes(3_000_000)), "body_version": 1}
    shared = SharedArtifact(id="a", **found, seq=1, created_at=Millis(1), updated_at=Millis(2))
    world.server.database = SimpleNamespace(  # type: ignore[misc]
        linearizer=Broken.linearizer, read=lambda *_, **__: succeed(ArtifactFound(artifact=shared))
    )
    asking, other = world.client(), world.client()
    before = memory.used
    world.happy._pace.begin()
    world.clock.rightNow += TURN_SECONDS
    asking.text('425["artifact-read",{"artifactId":"a"}]')
    other.text('421["ping"]')
    assert other.texts() == ["431[{}]"]
    assert asking.texts() == [] or not room
    for _ in range(100):
        world.clock.advance(0)
    if room:
        (text,) = asking.texts()
        assert json.loads(text[3:])[0]["artifact"]["body"] == "A" * 4_000_000
        assert memory.used == before
    else:
        assert asking.closing() == 1005


UNWRITABLE: dict[str, Any] = {
    "at once": object(),
    "at its end": [sliced(bytes(3_000_000)), "a" * 1_000_000 + "\ud83d"],  # half of a character
}


@pytest.mark.parametrize("which", UNWRITABLE)
def test_acknowledgement_that_cannot_be_written(which: str) -> None:
    """It is the event's failure answer, and a line in the log; nothing of the event is under way any more."""
    memory = Budget(2**25)
    world = HappyWorld(memory=memory)
    peer = world.client()
    (client,) = world.server.hub.everybody("ann")  # type: ignore[attr-defined]
    before = memory.used
    world.server.database = SimpleNamespace(  # type: ignore[misc]
        linearizer=Broken.linearizer, read=lambda *_, **__: succeed({"artifact": UNWRITABLE[which]})
    )
    with capturedLogs() as logged:
        peer.text('425["artifact-read",{"artifactId":"a"}]')
        for _ in range(100):
            world.clock.advance(0)
    assert peer.texts() == ['435[{"result":"error","message":"Internal error"}]']
    assert (client.handling, memory.used) == (0, before)
    assert len(logged) == 1
    peer.text('421["ping"]')
    assert peer.texts() == ["431[{}]"]


def test_too_many_bytes_at_once() -> None:
    """An account whose events under way are too large together loses a client; what ended counts no more."""
    memory = Budget(5 * application.HANDLER_BYTES)
    world = HappyWorld(memory=memory)
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
    assert memory.used_by("account:ann") > 2 * application.HANDLER_BYTES
    client.text(event)
    world.clock.advance(0)
    assert client.closing() == 1005
    world.lose(client)
    assert memory.used == 0


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
