"""Two unmodified Socket.IO clients against our framing, on real sockets.

Node's ``socket.io-client`` is installed with npm at the first run, into a cache folder outside of the
repository; without Node its tests are skipped.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from twisted.internet.ssl import KeyPair
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from happy.realtime.parameters import endpoint_settings
from happy.socketio.endpoint import SocketIOEndpoint
from happy.socketio.socket import Acknowledge, Arguments, ConnectRefused, Socket
from happy.socketio.standalone import EndpointSite
from tests.nodejs import SOCKET_IO_CLIENT, node, node_folder

PEERS = Path(__file__).parent / "peers"
# With a bundle of its own, Python's client would check certificates although it is told not to.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.endswith("_CA_BUNDLE")}

CONVERSATION = {
    "welcome": ["é😀", "blue"],
    "echo": ["text", 1, 2.5, 0, True, None, {"ключ": ["😀", {"deep": []}]}, "\ud800", "\u2028\u001e"],
    "ack": [{"n": 1}, "x"],
    "binary": [{"hex": "00ff"}, {"hex": "01"}],
    "binary ack": [{"hex": "abcd"}, "beside"],
    "large": True,
    "called": [{"answered": "why"}],
    "order": True,
    "custom": True,
    "unknown namespace": "Invalid namespace",
    "refused": "Go away",
    "reconnected": "still there?",
    "done": True,
}


class Host:
    """The other side of the conversation."""

    namespaces = ("/", "/custom")

    def __init__(self) -> None:
        self.reasons: list[str] = []

    async def connect(self, socket: Socket, auth: Raw | None) -> None:
        """Refuse those who ask for it."""
        presented = json.loads(bytes(auth)) if auth is not None else {}
        if "refuse" in presented:
            raise ConnectRefused(presented["refuse"])
        socket.program = presented

    def joined(self, socket: Socket) -> None:
        """Tell what was presented."""
        if socket.namespace == "/":
            socket.emit("welcome", socket.program.get("token"), socket.handshake.query.get("colour"))

    def event(self, socket: Socket, name: str, arguments: Sequence[Raw], ack: Acknowledge | None) -> None:
        """Say it back, answer, ask, count, or leave."""
        assert isinstance(arguments, Arguments)
        if name == "say":
            socket.emit("echo", *(arguments.values() if arguments.attachments else arguments))
        elif name == "ask" and ack is not None:
            ack(*arguments.values())
        elif name == "call me":
            socket.call(
                "question", arguments[0], answered=lambda answer: socket.emit("answered", *answer or ())
            )
        elif name == "count":
            for number in range(json.loads(bytes(arguments[0]))):
                socket.emit("number", number)
        elif name == "drop me":
            socket.close()

    def disconnected(self, socket: Socket, reason: str) -> None:
        """Remember why."""
        self.reasons.append(reason)


class PeerCase(TestCase):
    """Conversations over each transport, and across the upgrade from one to the other."""

    timeout = 60
    scheme = "http"
    maxDiff = None

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.host = Host()
        settings = endpoint_settings(ping_interval=0.5, ping_timeout=10.0, upgrade_timeout=10.0)
        self.endpoint = SocketIOEndpoint(self.host, settings, reactor)
        self.site = EndpointSite(self.endpoint, reactor)
        port = self.listen(reactor)
        self.url = f"{self.scheme}://127.0.0.1:{port.getHost().port}"
        self.addCleanup(port.stopListening)
        self.addCleanup(self.endpoint.stop)

    def listen(self, reactor: Any) -> Any:
        """Serve on a port of the loopback."""
        return reactor.listenTCP(0, self.site, interface="127.0.0.1")

    async def converse(self, command: Sequence[str], transports: str) -> dict[str, Any]:
        """Run a peer; what it reported, by name."""
        output, errors, status = await getProcessOutputAndValue(
            command[0], [*command[1:], self.url, transports], env=ENVIRONMENT
        )
        assert status == 0, errors.decode()
        return dict(json.loads(line) for line in output.splitlines())

    def check(self, report: dict[str, Any], transport: str) -> None:
        """Everything went as it should, and nothing is left."""
        expected = {**CONVERSATION, "transport": transport}
        self.assertEqual({name: report.get(name) for name in expected}, expected)
        assert "forced server close" in self.host.reasons
        assert {"client namespace disconnect", "transport close"} & set(self.host.reasons)


class NodePeerTests(PeerCase):
    """Node's client."""

    async def converse_in_node(self, transports: str) -> dict[str, Any]:
        folder = node_folder(SOCKET_IO_CLIENT)
        return await self.converse([node(), str(PEERS / "node_peer.mjs"), str(folder)], transports)

    async def test_websocket(self) -> None:
        """All works over WebSocket alone."""
        self.check(await self.converse_in_node("websocket"), "websocket")

    async def test_polling(self) -> None:
        """All works over polling alone."""
        self.check(await self.converse_in_node("polling"), "polling")

    async def test_upgrade(self) -> None:
        """All works across an upgrade."""
        self.check(await self.converse_in_node("polling,websocket"), "websocket")


class PythonPeerTests(PeerCase):
    """python-socketio."""

    async def converse_in_python(self, transports: str) -> dict[str, Any]:
        return await self.converse([sys.executable, str(PEERS / "python_peer.py")], transports)

    async def test_websocket(self) -> None:
        """All works over WebSocket alone."""
        self.check(await self.converse_in_python("websocket"), "websocket")

    async def test_polling(self) -> None:
        """All works over polling alone."""
        self.check(await self.converse_in_python("polling"), "polling")

    async def test_upgrade(self) -> None:
        """All works across an upgrade."""
        self.check(await self.converse_in_python("polling,websocket"), "websocket")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class SecurePeerTests(NodePeerTests):
    """Node's client, over TLS; Python's uses one TLS object from two threads, and hangs at times."""

    scheme = "https"

    def listen(self, reactor: Any) -> Any:
        certificate = KeyPair.generate(size=2048).selfSignedCert(1, CN="localhost")
        return reactor.listenSSL(0, self.site, certificate.options(), interface="127.0.0.1")
