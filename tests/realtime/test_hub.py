"""Who hears what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from happy.metrics import Metrics
from happy.realtime.client import Client
from happy.realtime.hub import Hub
from happy.realtime.updates import (
    Audience,
    DeleteSession,
    MachineActivity,
    Scope,
    Update,
    devices_of,
    watchers_of_machine,
    watchers_of_session,
)
from tests.realtime.clients import bodies, connect, events, packets


def hub_of(*clients: Client) -> Hub:
    hub = Hub(Metrics(CollectorRegistry()))
    for client in clients:
        hub.add(client)
    return hub


def update(audience: Audience, seq: int = 1, skip: object = None) -> Update:
    return Update(audience=audience, seq=seq, body=DeleteSession(sid="s"), created_at=5, skip=skip)


def test_session_watchers() -> None:
    """A session's update reaches the account's devices and that session's sockets, nobody else."""
    device, session = connect("a"), connect("a", Scope.SESSION, "s")
    others = [connect("a", Scope.SESSION, "t"), connect("a", Scope.MACHINE, "s"), connect("b")]
    hub_of(device, session, *others).deliver(update(watchers_of_session("a", "s")))
    assert bodies(device) == bodies(session) == [{"t": "delete-session", "sid": "s"}]
    assert [packets(other) for other in others] == [[], [], []]


def test_machine_watchers() -> None:
    """A machine's update reaches the account's devices and that machine's sockets, nobody else."""
    device, machine = connect("a"), connect("a", Scope.MACHINE, "m")
    others = [connect("a", Scope.MACHINE, "n"), connect("a", Scope.SESSION, "m"), connect("b")]
    hub_of(device, machine, *others).deliver(update(watchers_of_machine("a", "m")))
    assert len(packets(device)) == len(packets(machine)) == 1
    assert [packets(other) for other in others] == [[], [], []]


def test_envelope() -> None:
    """An update carries an id of twelve characters, the account's number and its time."""
    device = connect("a")
    hub_of(device).deliver(update(devices_of("a"), seq=7))
    [(name, envelope)] = events(device)
    assert name == "update"
    assert list(envelope) == ["id", "seq", "body", "createdAt"]
    assert len(envelope["id"]) == 12
    assert (envelope["seq"], envelope["createdAt"]) == (7, 5)


def test_encoded_once() -> None:
    """All listeners get the very same packet."""
    one, other = connect("a"), connect("a")
    hub_of(one, other).deliver(update(devices_of("a")))
    assert one.socket._link.packets[0] is other.socket._link.packets[0]


def test_skipped_socket() -> None:
    """The sending socket is left out, its owner's other sockets are not."""
    sender, other = connect("a"), connect("a")
    hub_of(sender, other).deliver(update(devices_of("a"), skip=sender.socket))
    assert (packets(sender), len(packets(other))) == ([], 1)


def test_signal() -> None:
    """A passing signal is the bare object."""
    device = connect("a")
    hub_of(device).signal(devices_of("a"), MachineActivity(id="m", active=True, active_at=3))
    assert events(device) == [
        ("ephemeral", {"type": "machine-activity", "id": "m", "active": True, "activeAt": 3})
    ]


def test_removed() -> None:
    """A client that has gone hears nothing, and leaves nothing behind."""
    clients = [connect("a"), connect("a", Scope.SESSION, "s"), connect("a", Scope.MACHINE, "m")]
    hub = hub_of(*clients)
    for client in clients:
        hub.remove(client)
    hub.deliver(update(watchers_of_session("a", "s")))
    assert [packets(client) for client in clients] == [[], [], []]


def test_removing_twice_counts_once() -> None:
    """The gauge of connections survives a client that is removed twice, or was never there."""
    metrics = Metrics(CollectorRegistry())
    hub = Hub(metrics)
    client = connect("a")
    hub.add(client)
    hub.add(connect("a"))
    hub.remove(client)
    hub.remove(client)
    hub.remove(connect("a"))
    gauge = metrics.websocket_connections_total.labels("user-scoped", "unknown", "unknown")
    assert gauge._value.get() == 1
    assert sum(1 for _ in hub.clients(devices_of("a"))) == 1


def test_viewing() -> None:
    """Only a declared user-scoped client in the foreground counts as looking."""
    for client, looking in (
        (connect("a", viewing=True), True),
        (connect("a", viewing=None), False),
        (connect("a", viewing=False), False),
        (connect("a", viewing=True, declared=False), False),
        (connect("a", Scope.SESSION, "s", viewing=True, declared=False), False),
        (connect("b", viewing=True), False),
    ):
        assert hub_of(client).viewing("a") is looking


def test_who_has_users() -> None:
    """Users are there while one is connected; sessions and machines are none."""
    assert hub_of(connect("a")).has_users("a")
    assert not hub_of(connect("b"), connect("a", Scope.SESSION, "s")).has_users("a")


class Watching:
    """Notes what the hub tells."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Client]] = []

    def joined(self, client: Client) -> None:
        self.told.append(("joined", client))

    def left(self, client: Client) -> None:
        self.told.append(("left", client))

    def looked(self, client: Client) -> None:
        self.told.append(("looked", client))


def test_observer() -> None:
    """Who watches the hub is told of clients that come, look and go."""
    hub, client = hub_of(), connect("a")
    hub.observer = watching = Watching()
    hub.add(client)
    hub.look(client, viewing=True)
    hub.remove(client)
    assert watching.told == [(what, client) for what in ("joined", "looked", "left")]


SCOPES = st.sampled_from([(Scope.USER, ""), (Scope.SESSION, "x"), (Scope.SESSION, "y"), (Scope.MACHINE, "x")])


@given(st.lists(st.tuples(st.sampled_from("ab"), SCOPES), max_size=12), st.sampled_from(["x", "y"]))
def test_audience_by_definition(members: list[tuple[str, tuple[Scope, str]]], session: str) -> None:
    """However clients are mixed, the audience is exactly what the contract's filter says, each once."""
    clients = [connect(account, *scope) for account, scope in members]
    found = list(hub_of(*clients).clients(watchers_of_session("a", session)))
    expected = [
        client
        for client in clients
        if client.account == "a"
        and (client.scope is Scope.USER or (client.scope is Scope.SESSION and client.subject == session))
    ]
    assert sorted(map(id, found)) == sorted(map(id, expected))
