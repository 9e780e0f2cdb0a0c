"""The echo programs that the public protocol suites talk to (realtime.md A.15).

``python -m tests.echo_server --port 3000 --suite engineio`` or ``--suite socketio``; listens on 127.0.0.1,
on any port for 0, and says on which.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Raw

from happy.socketio.endpoint import EngineEndpoint, SocketIOEndpoint
from happy.socketio.engine import EngineConnection
from happy.socketio.shared import EndpointSettings
from happy.socketio.socket import Acknowledge, Arguments, Handshake, Socket
from happy.socketio.standalone import EndpointSite
from happy.wire.engineio import encode_message

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

AUTH_DELAY = 0.02
"""The suite reads one frame at a time and loses a second one that comes in the same TCP segment."""


SUITE = {"ping_interval": 0.3, "ping_timeout": 0.2, "connect_timeout": 1.0}
"""The intervals that the suites expect, in seconds."""


class EngineEcho:
    """Sends every message back."""

    def __init__(self, connection: EngineConnection, handshake: Handshake) -> None:
        self._connection = connection

    def message(self, data: bytes, binary: bool) -> None:
        """Send it back."""
        self._connection.send(encode_message(data, binary=binary))

    def ended(self, reason: str) -> None:
        """Nothing is kept."""


class SocketEcho:
    """Echoes what the main namespace hears, and tells everybody what they presented on joining."""

    namespaces = ("/", "/custom")

    def __init__(self, clock: IReactorTime, auth_delay: float = AUTH_DELAY) -> None:
        self._clock = clock
        self._auth_delay = auth_delay

    def connect(self, socket: Socket, auth: Raw | None) -> None:
        """Everybody may join."""
        socket.program = auth or Raw(b"{}")

    def joined(self, socket: Socket) -> None:
        """Tell the client what it presented."""
        self._clock.callLater(self._auth_delay, socket.emit, "auth", socket.program)

    def event(self, socket: Socket, name: str, arguments: Sequence[Raw], ack: Acknowledge | None) -> None:
        """Echo ``message``, acknowledge ``message-with-ack``."""
        assert isinstance(arguments, Arguments)
        if name == "message":
            socket.emit("message-back", *arguments.values())
        elif name == "message-with-ack" and ack is not None:
            ack(*arguments.values())

    def disconnected(self, socket: Socket, reason: str) -> None:
        """Nothing is kept."""


def echo_endpoint(suite: str, intervals: Mapping[str, float], clock: IReactorTime) -> EngineEndpoint:
    """The endpoint of a suite."""
    if suite == "engineio":
        return EngineEndpoint(EngineEcho, EndpointSettings(path="/engine.io/", **intervals), clock)
    return SocketIOEndpoint(SocketEcho(clock), EndpointSettings(path="/socket.io/", **intervals), clock)


def main() -> None:
    """Serve until stopped."""
    from twisted.internet import reactor

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--suite", choices=("engineio", "socketio"), required=True)
    for name, seconds in SUITE.items():
        parser.add_argument("--" + name.replace("_", "-"), type=float, default=seconds)
    options = parser.parse_args()
    intervals = {name: getattr(options, name) for name in SUITE}
    site = EndpointSite(echo_endpoint(options.suite, intervals, reactor), reactor)
    listening = reactor.listenTCP(options.port, site, interface="127.0.0.1")
    sys.stdout.write(f"Listening on {listening.getHost().port}\n")
    sys.stdout.flush()
    reactor.run()


if __name__ == "__main__":
    main()
