"""The site on real sockets, plain and TLS, against clients that do not use Twisted."""

from __future__ import annotations

import datetime
import http.client
import socket
import ssl
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor as installed_reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from happy.api.declare import MIB, Caller, Capability
from happy.api.structs import Blob, Body
from happy.web.inflight import InFlight
from happy.web.resource import Router
from happy.web.serving import SocketEndpoint
from happy.web.site import HappySite
from tests.toys import toy_server
from tests.web.talking import Served

reactor: Any = installed_reactor

toys = Capability("toys")
ANN = {"Authorization": "Bearer a.token.of-ann", "Content-Type": "application/json"}
LARGE = 5 * MIB


class Toy(Body):
    name: str


@toys.post("/toys", limit=100 * MIB)
async def make(caller: Caller, body: Toy) -> int:
    """Take a name of any length."""
    return len(body.name)


@toys.get("/blob", public=True)
async def blob() -> Blob:
    """Send more than any buffer holds."""
    return Blob(chunks=(b"x" * 65_536 for _ in range(LARGE // 65_536)), length=LARGE)


def certificate(folder: Path) -> Path:
    """A file with a key and a certificate for localhost that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "localhost.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


class WatchedSite(HappySite):
    """Knows how many connections are open."""

    def __init__(self, router: Router, realtime: SocketEndpoint | None, clock: Any) -> None:
        super().__init__(router, realtime, clock)
        self.open = InFlight()

    def buildProtocol(self, addr: Any) -> Any:
        channel = super().buildProtocol(addr)
        self.open.enter()
        lost = channel.connectionLost

        def connectionLost(reason: Any) -> None:
            lost(reason)
            self.open.leave()

        channel.connectionLost = connectionLost
        return channel


class PlainTests(TestCase):
    """Plain TCP."""

    async def setUp(self) -> None:
        self.served = Served(toy_server(clock=reactor), [toys])
        self.addCleanup(self._stop)
        endpoint = serverFromString(reactor, self.description())
        self.site = WatchedSite(self.served.router, None, reactor)
        self.port = await endpoint.listen(self.site)
        self.number = self.port.getHost().port

    def description(self) -> str:
        return "tcp:0:interface=127.0.0.1"

    async def _stop(self) -> None:
        await self.port.stopListening()
        await self.site.stop()
        await self.site.open.when_idle()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.number, timeout=10)

    def _several(self) -> list[bytes]:
        connection = self.connect()
        answers = []
        for size in (1, 3_000, 3_000_000):
            connection.request("POST", "/toys", b'{"name":"%s"}' % (b"n" * size), ANN)
            answers.append(connection.getresponse().read())
        connection.request("GET", "/blob")
        answers.append(b"%d" % len(connection.getresponse().read()))
        connection.close()
        return answers

    async def test_one_connection(self) -> None:
        """Small and large requests and answers share a connection."""
        answers = await deferToThread(self._several)
        self.assertEqual(answers, [b"1", b"3000", b"3000000", b"%d" % LARGE])

    def _too_much(self) -> tuple[int, str | None]:
        connection = self.connect()
        connection.putrequest("POST", "/toys")
        connection.putheader("Content-Length", str(100 * MIB))
        connection.endheaders()
        for _ in range(20):
            connection.send(b"x" * 65_536)
        response = connection.getresponse()
        connection.close()
        return response.status, response.getheader("connection")

    async def test_refusal_arrives(self) -> None:
        """A client in the middle of sending too much gets to read why it must not."""
        self.assertEqual(await deferToThread(self._too_much), (413, "close"))

    def _garbage(self) -> bytes:
        sock: socket.socket = self.connect_raw()
        sock.sendall(b"NONSENSE\r\n" + b"x" * 100_000)
        data = b""
        while part := sock.recv(65_536):
            data += part
            if data.endswith(b"}"):
                break
        sock.close()
        return data

    def connect_raw(self) -> Any:
        return socket.create_connection(("127.0.0.1", self.number), timeout=10)

    async def test_garbage(self) -> None:
        """What is not HTTP is told so."""
        answer = await deferToThread(self._garbage)
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"))


class TlsTests(PlainTests):
    """The same with TLS."""

    def description(self) -> str:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return f"ssl:0:interface=127.0.0.1:privateKey={certificate(Path(folder.name))}"

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.number, timeout=10, context=_trusting())

    def connect_raw(self) -> Any:
        return _trusting().wrap_socket(super().connect_raw())


def _trusting() -> ssl.SSLContext:
    """A client context that takes any certificate and offers HTTP/2 as well."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
