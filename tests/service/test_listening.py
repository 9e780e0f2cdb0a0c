"""ListeningEndpoints, and the certificates that they show."""

from __future__ import annotations

import socket
import ssl
import tempfile
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from happy.base.errors import StartupError
from happy.service.listening import ListeningEndpoints
from tests.base.certificates import Authority


class ListeningTests(TestCase):
    """Real ports of this machine."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=self.mktemp_folder()))
        self.listening = ListeningEndpoints()

    def mktemp_folder(self) -> str:
        """A folder that goes with the test."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return folder.name

    async def listen(self, description: str) -> Any:
        """A port that accepts and says nothing."""
        port = await self.listening.listen(description, Factory.forProtocol(Protocol), reactor)
        self.addCleanup(lambda: maybeDeferred(port.stopListening))
        return port

    async def test_the_whole_chain(self) -> None:
        """Who knows the root alone accepts the server, which shows a renewed certificate when told to."""
        made = Authority(self.folder)
        port = await self.listen(f"ssl:0:interface=127.0.0.1:privateKey={made.key}:certKey={made.chain}")
        first = await deferToThread(_serial, port.getHost().port, made.root)
        renewed = made.renew()
        self.assertEqual(await deferToThread(_serial, port.getHost().port, made.root), first)
        self.listening.reload()
        self.assertEqual(await deferToThread(_serial, port.getHost().port, made.root), renewed)
        made.key.write_text("nonsense")
        with capturedLogs() as logged:
            self.listening.reload()
        self.assertIn("holds no private key", str(logged[0]["reason"]))
        self.assertEqual(await deferToThread(_serial, port.getHost().port, made.root), renewed)

    async def refused(self, description: str) -> str:
        """The line that a start ends with."""
        return str(await self.assertFailure(_start(self.listen(description)), StartupError))

    async def test_refusals(self) -> None:
        """Each is one line with the reason in plain words."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            line = await self.refused(f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1")
        self.assertIn(": Address already in use; another program listens there", line)
        self.assertIn("; this machine has no such address", await self.refused("tcp:0:interface=192.0.2.1"))
        missing = self.folder / "missing"
        self.assertTrue((await self.refused(f"unix:{missing}/s")).endswith(": No such file or directory"))
        line = await self.refused(f"ssl:0:privateKey={missing}")
        self.assertIn(f"{missing} cannot be read", line)
        self.assertNotIn("Errno", await self.refused("tcp:0:interface=host.invalid"))


def _start(work: Any) -> Any:
    from twisted.internet.defer import Deferred

    return Deferred.fromCoroutine(work)


def _serial(port: int, root: Path) -> int:
    """The serial number of the certificate that a client is shown that knows one root."""
    context = ssl.create_default_context(cafile=str(root))
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number
