"""socket.io-client as it is by itself, against several workers: its connections come to any of them."""

from __future__ import annotations

import json
from pathlib import Path

import treq
from twisted.internet import reactor
from twisted.internet.utils import getProcessOutput

from happy.client import AccountKeys, RemoteServer, sign_in
from tests.nodejs import SOCKET_IO_CLIENT, node, node_folder
from tests.workers.case import WorkersCase

SCRIPT = Path(__file__).with_name("upgrading.cjs")
COUNT = 12


class UpgradeTests(WorkersCase):
    async def test_upgrades(self) -> None:
        """Whichever worker an upgrade reaches, the session goes on as a WebSocket."""
        modules = node_folder(SOCKET_IO_CLIENT) / "node_modules"
        parent = await self.started(workers="3")
        server = RemoteServer(f"http://127.0.0.1:{self.port}", reactor)
        phone = await sign_in(server, AccountKeys.generate())
        await server.close()
        arguments = [str(SCRIPT), server.url, phone.token, str(COUNT)]
        said = await getProcessOutput(node(), arguments, {"NODE_PATH": str(modules)}, errortoo=True)
        self.assertEqual(json.loads(said), [[True, "pong", True]] * COUNT)
        page = await treq.get(f"http://127.0.0.1:{self.metrics}/metrics", persistent=False)
        expected = 'happy_wrong_node_total{worker="w1",app="happy-server"} 0.0'
        self.assertIn(expected, await treq.text_content(page))
        await parent.stop()
