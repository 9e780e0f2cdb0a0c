"""The status page in a real browser: light, dark, and as wide as a phone."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase
from twisted.web.server import Site

from happy.metrics import Metrics
from happy.service.history import SECONDS, History
from happy.service.monitoring import MonitoringResource
from happy.service.status import Quotas, Sockets, StatusReport
from tests.browser.test_static_mode import HERE, chromium
from tests.nodejs import PLAYWRIGHT, node, node_folder

LONG = "frankfurt-application-server-0017.internal-services.example.org"
"""As long as names of machines may be."""

REPORT = StatusReport(
    version=f"1.2.3+{'0123456789abcdef' * 4}",
    uptime_ms=93_784_000,
    ready=False,
    reasons=["disk", LONG],
    sockets=Sockets(1234, 2, 3),
    accounts=56_789,
    pairings=4,
    database_bytes=1_500_000_000,
    files_bytes=None,
    free_bytes=12_000_000,
    last_backup_at=None,
    nodes=[
        {"name": "w1", "state": "here", "sockets": 1000, "secret": "0231feaeb0575ca7"},
        {"name": "n2", "state": "there", "filesElsewhere": True, "secret": "e5cc75f94d46bc50"},
        {"name": LONG, "state": "not ready", "host": LONG, "version": LONG, "since": 0, "sockets": 239},
    ],
    quotas=Quotas(100, 1000, 5_000_000_000),
    postgres="18.1",
    listening=[],
)
TITLES = ["Sockets", "A minute", "Storing a batch", "Calls between devices", "Memory", "Database"]


class Busy:
    """A server with numbers of all sizes, as status and as readiness."""

    database_bytes = 1_500_000_000

    async def report(self) -> StatusReport:
        return REPORT

    async def count(self, patience: float) -> None:
        """Nothing to count."""


def an_hour(metrics: Metrics, busy: Any) -> History:
    """What such a server remembers."""
    clock = Clock()
    began = time.time() - 3600
    history = History(metrics, clock, lambda: began + clock.seconds(), busy)
    history.start()
    for number in range(240):
        metrics.websocket_connections_total.labels("user-scoped", "ios", "ios").set(1000 + number)
        metrics.happy_commit_rows.observe(number)
        metrics.happy_commit_seconds.observe(0.001 * number)
        metrics.session_alive_events_total.inc(200)
        if number % 2:
            metrics.rpc_call_duration_seconds.labels("a", "ok").observe(0.2)
        clock.advance(SECONDS)
    history.stop()
    return history


class StatusPageTests(TestCase):
    """What is seen, and that nothing else is loaded."""

    timeout = 60

    async def test_page(self) -> None:
        """Every number and every plot is there in each way of looking, without complaints of the browser."""
        node(), chromium()
        folder = Path(tempfile.mkdtemp(prefix="happy-browser-"))
        self.addCleanup(shutil.rmtree, folder)
        metrics, busy = Metrics(), Busy()
        parts: Any = busy
        history = an_hour(metrics, parts)
        resource = MonitoringResource(metrics, time.time, Clock(), parts, parts, history)
        port = reactor.listenTCP(0, Site(resource), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        url = f"http://127.0.0.1:{port.getHost().port}/"
        pages = {page["name"]: page for page in await self.look(folder, url)}
        self.assertEqual(set(pages), {"light", "dark", "phone", "phone-dark"})
        for page in pages.values():
            self.assertEqual((page["complaints"], page["elsewhere"], page["tooWide"]), ([], 0, []))
            self.assertEqual((page["titles"], page["lines"]), (TITLES, [True] * 11))
            for text in ("1.2.3", "not ready: disk", LONG, "56,789", "1.5 GB", "26 h 3 min", "SQL 18.1"):
                self.assertIn(text, page["text"])
        self.assertNotEqual(pages["light"]["ground"], pages["dark"]["ground"])

    async def look(self, folder: Path, url: str) -> list[dict[str, Any]]:
        """What the page shows in each way; screenshots stay in a folder that the environment may name."""
        shots = Path(os.environ.get("HAPPY_SCREENSHOTS", folder)) / "status-%.png"
        arguments = [str(HERE / "watch.mjs"), str(node_folder(PLAYWRIGHT)), chromium(), str(shots), url]
        output, errors, status = await getProcessOutputAndValue(node(), arguments, env=os.environ)
        assert status == 0, errors.decode()
        return [json.loads(line) for line in output.splitlines()]
