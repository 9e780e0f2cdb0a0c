"""A real browser on a web app that this server serves, and on one that another origin serves."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SkipTest
from twisted.web.server import Site
from twisted.web.static import File

from tests.live.case import LiveCase
from tests.nodejs import PLAYWRIGHT, SOCKET_IO_CLIENT, node, node_folder

HERE = Path(__file__).parent
BANNER = "Welcome to Happy Server!"
CLIENT = Path("node_modules/socket.io-client/dist/socket.io.min.js")

STEPS = {
    "banner": {"text": BANNER},
    "login": {"success": True},
    "pair": {"states": ["requested", "authorized"], "response": "sealed"},
    "sockets": {
        "transports": ["websocket", "polling"],
        "pongs": [{}, {}],
        "bodies": [["new-session", True], ["new-session", True]],
    },
    "attachment": {"stored": {"ok": True}, "same": True},
}


def chromium() -> str:
    """The path of Chromium. Raises SkipTest without it."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise SkipTest("Chromium is not installed")
    return program


class StaticModeTests(LiveCase):
    """The static mode in Chromium."""

    timeout = 60
    maxDiff = None

    async def setUp(self) -> None:
        self.programs = node(), chromium(), node_folder(PLAYWRIGHT)
        self.folder = Path(tempfile.mkdtemp(prefix="happy-browser-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.app = self.folder / "app"
        shutil.copytree(HERE / "page", self.app)
        shutil.copy(node_folder(SOCKET_IO_CLIENT) / CLIENT, self.app)
        self.settings = {"webapp": self.app}
        await super().setUp()

    def elsewhere(self) -> str:
        """The same files served by somebody else."""
        from twisted.internet import reactor

        port: Any = reactor.listenTCP(0, Site(File(str(self.app))), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        return f"http://127.0.0.1:{port.getHost().port}"

    async def open(self, *urls: str) -> list[dict[str, Any]]:
        """What the pages report; screenshots stay in a folder that the environment may name."""
        program, browser, packages = self.programs
        shots = Path(os.environ.get("HAPPY_SCREENSHOTS", self.folder)) / "page-%.png"
        arguments = [str(HERE / "drive.mjs"), str(packages), browser, str(shots), *urls]
        output, errors, status = await getProcessOutputAndValue(program, arguments, env=os.environ)
        assert status == 0, errors.decode()
        return [json.loads(line) for line in output.splitlines()]

    async def test_pages(self) -> None:
        """A page finds its server by itself, or is told from another origin, and works with it."""
        page = f"{self.url}/session/of/the/app"
        other = f"{self.elsewhere()}/index.html?server={self.url}"
        own, foreign = await self.open(page, other)
        common = {"steps": STEPS, "status": 200, "complaints": []}
        config = {"serverUrl": self.url, "disableAnalytics": True}
        self.assertEqual(own, {**common, "crossOrigin": False, "injected": config})
        self.assertEqual(foreign, {**common, "crossOrigin": True, "injected": None})
