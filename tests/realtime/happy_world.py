"""The program behind the endpoint, with clients on fake transports."""

from __future__ import annotations

import json
from typing import Any

from prometheus_client import CollectorRegistry
from wsproto.events import CloseConnection, TextMessage

from happy.capabilities import CAPABILITIES
from happy.metrics import Metrics
from happy.realtime.application import HappyApplication
from happy.realtime.calls import Calls
from happy.realtime.hub import Hub
from happy.realtime.parameters import endpoint_settings
from happy.realtime.recovery import Recovery
from happy.socketio.endpoint import SocketIOEndpoint
from happy.socketio.standalone import EndpointSite
from tests.socketio.peers import WebSocketPeer
from tests.socketio.programs import World
from tests.toys import toy_server

TOKEN = "a.token.of-ann"
MACHINE = {"clientType": "machine-scoped", "machineId": "m"}


class Broken:
    """A database that refuses everything, with an error nobody foresaw."""

    linearizer = toy_server().database.linearizer

    async def read(self, work: object, *, owner: str = "") -> None:
        raise RuntimeError("a value that must not be logged")

    async def transact(self, work: object, *, accounts: object = ()) -> None:
        raise RuntimeError("a value that must not be logged")


class Parametrised(World):
    """Any program behind an endpoint with the settings that the server has."""

    make_settings = staticmethod(endpoint_settings)


class HappyWorld(Parametrised):
    """The real application behind the real endpoint, with a database that fails, on a clock."""

    def __init__(self, *, recovery: bool = False, others: Any = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.metrics = Metrics(CollectorRegistry())
        self.server = toy_server(
            clock=self.clock,
            metrics=self.metrics,
            hub=Hub(self.metrics, Recovery(self.clock) if recovery else None),
            calls=Calls(self.clock, self.metrics),
            database=Broken(),
        )
        events = [event for capability in CAPABILITIES for event in capability.events]
        self.happy = HappyApplication(self.server, self.server.hub, self.server.calls, events, others=others)
        self.endpoint = SocketIOEndpoint(self.happy, self.settings, self.clock, lambda channel: self.origin)
        self.site = EndpointSite(self.endpoint, self.clock)

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


def said(peer: WebSocketPeer) -> list[Any]:
    """The arguments of the events that a client heard since the last time, each with its name."""
    came = [event.data for event in peer.receive() if isinstance(event, TextMessage)]
    return [json.loads(text[2:]) for text in came if text.startswith("42")]


def activity(peer: WebSocketPeer) -> list[bool]:
    """Whether its machine is online, as often as a client was told since the last time."""
    signals = [argument for name, argument in said(peer) if name == "ephemeral"]
    assert all(signal["type"] == "machine-activity" and signal["id"] == "m" for signal in signals)
    return [signal["active"] for signal in signals]
