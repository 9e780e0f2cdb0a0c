"""What the metrics port answers, and the port itself."""

from __future__ import annotations

import errno
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import treq
from treq.testing import StubTreq
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from happy.base.errors import StartupError
from happy.metrics import Metrics
from happy.service.metrics_port import MetricsPort
from happy.service.monitoring import MonitoringResource
from happy.service.status import Sockets, StatusReport
from happy.service.watchers_site import WatchersSite
from happy.settings.config import Config

NOW = 1_769_860_800.25

REPORT = StatusReport(
    version="1",
    listening=[],
    uptime_ms=1,
    ready=True,
    reasons=[],
    sockets=Sockets(1, 2, 3),
    accounts=3,
    pairings=0,
    database_bytes=None,
    files_bytes=None,
    free_bytes=None,
    last_backup_at=None,
    nodes=[],
    postgres=None,
)


class Judged:
    """Readiness as a test says; stands for the real one, and for the status as far as metrics need it."""

    told = REPORT

    def __init__(self, *reasons: str) -> None:
        self.found = list(reasons)
        self.counted = 0

    async def reasons(self) -> list[str]:
        return self.found

    async def count(self, patience: float) -> None:
        self.counted += 1

    def columns(self) -> dict[str, list[int]]:
        return {"at": [1]}

    async def report(self) -> StatusReport:
        return self.told


class Broken(Metrics):
    """Metrics that cannot be written."""

    def pieces(self) -> Iterator[bytes]:
        yield b"# HELP"
        raise ZeroDivisionError


class Hasty(Clock):
    """A clock on which whatever is done takes a second; ``turns`` are those that were asked for."""

    turns = 0

    def callLater(self, *arguments: Any, **named: Any) -> Any:
        self.turns += 1
        return super().callLater(*arguments, **named)

    def seconds(self) -> float:
        self.rightNow += 1
        return self.rightNow


class ResourceTests(SynchronousTestCase):
    """What the metrics port answers."""

    judged: Any = Judged()

    def ask(self, method: str, path: str, metrics: Metrics | None = None) -> tuple[int, str | None, str]:
        given = metrics or Metrics()
        resource = MonitoringResource(given, lambda: NOW, Clock(), self.judged, self.judged, self.judged)
        client = StubTreq(resource)
        response = self.successResultOf(client.request(method, f"http://127.0.0.1:9090{path}"))
        kind = response.headers.getRawHeaders("content-type", [None])[0]
        return response.code, kind, self.successResultOf(client.text_content(response))

    def test_metrics(self) -> None:
        """/metrics has the exposition in the format that Prometheus asks for."""
        metrics = Metrics()
        metrics.machine_alive_events_total.inc(7)
        status, kind, body = self.ask("GET", "/metrics", metrics)
        self.assertEqual((status, kind), (200, "text/plain; version=0.0.4; charset=utf-8"))
        self.assertIn('machine_alive_events_total{app="happy-server"} 7.0\n', body)

    def test_metrics_in_turns(self) -> None:
        """What takes long is written a piece in each turn of the reactor."""
        metrics, clock = Metrics(), Hasty()
        client = StubTreq(
            MonitoringResource(metrics, lambda: NOW, clock, self.judged, self.judged, self.judged)
        )
        asked = client.request("GET", "http://127.0.0.1:9090/metrics")
        clock.advance(0)
        client.flush()
        self.assertEqual(clock.turns, len(list(metrics.pieces())))
        body = self.successResultOf(client.content(self.successResultOf(asked)))
        self.assertEqual(body.count(b"# TYPE"), metrics.exposition().count(b"# TYPE"))

    def test_health(self) -> None:
        """/health tells the time and that the process lives."""
        status, kind, body = self.ask("GET", "/health")
        self.assertEqual((status, kind), (200, "application/json; charset=utf-8"))
        self.assertEqual(json.loads(body), {"status": "ok", "timestamp": "2026-01-31T12:00:00.250Z"})

    def test_live(self) -> None:
        """/live says that the reactor turns, whatever else is wrong."""
        self.judged = Judged("database")
        self.assertEqual(self.ask("GET", "/live")[0::2], (200, '{"live":true}'))

    def test_ready(self) -> None:
        """/ready is 503, with the reasons, when clients should not be sent here."""
        for reasons, status in (([], 200), (["disk", "draining"], 503)):
            self.judged = Judged(*reasons)
            found, _, body = self.ask("GET", "/ready")
            self.assertEqual((found, json.loads(body)), (status, {"ready": not reasons, "reasons": reasons}))

    def test_status(self) -> None:
        """/status.json has what the status page shows."""
        self.assertEqual(
            json.loads(self.ask("GET", "/status.json")[2]),
            {"status": json.loads(msgspec.json.encode(REPORT)), "history": {"at": [1]}},
        )

    def test_secrets(self) -> None:
        """/status.json says whose master secret is another one, and has no fingerprint to try guesses by."""
        self.judged = Judged()
        ours, theirs = {"secret": "0231feaeb0575ca7"}, {"secret": "e5cc75f94d46bc50"}
        nodes = [{"name": "a", "state": "here"}, *({"name": name, "state": "there"} for name in "bcd")]
        told = [nodes[0] | ours, nodes[1] | ours, nodes[2] | theirs, nodes[3]]
        self.judged.told = msgspec.structs.replace(REPORT, nodes=told)
        shown = json.loads(self.ask("GET", "/status.json")[2])["status"]["nodes"]
        self.assertEqual(shown, [*nodes[:2], nodes[2] | {"otherSecret": True}, nodes[3]])

    def test_page(self) -> None:
        """The page for people is there with its parts, and may load nothing else."""
        for path, kind in (("/", "html"), ("/status.css", "css"), ("/status.js", "javascript")):
            status, found, body = self.ask("GET", path)
            self.assertEqual((status, found), (200, f"text/{kind}; charset=utf-8"))
            self.assertNotIn("//", body.replace("http://www.w3.org/2000/svg", "").replace("// ", ""))

    def test_counted_before(self) -> None:
        """Before metrics are shown, what is counted for them is counted."""
        self.judged = Judged()
        self.ask("GET", "/metrics")
        self.assertEqual(self.judged.counted, 1)

    def test_head(self) -> None:
        """What can be read can also be asked for without its body (http.md 3.2)."""
        for path in ("/metrics", "/health", "/live", "/ready", "/status.json"):
            full, bare = self.ask("GET", path), self.ask("HEAD", path)
            self.assertEqual(bare, (*full[:2], ""))

    def test_anything_else(self) -> None:
        """Other paths and methods are not found, and told which they were."""
        for method, path in (("GET", "/x"), ("POST", "/metrics"), ("GET", "/metrics/"), ("GET", "/x?a=%22")):
            status, kind, body = self.ask(method, path)
            self.assertEqual((status, kind), (404, "application/json; charset=utf-8"))
            message = f"Route {method}:{path} not found"
            self.assertEqual(json.loads(body), {"message": message, "error": "Not Found", "statusCode": 404})

    def test_failure(self) -> None:
        """Metrics that cannot be written are a failure, and logged."""
        with capturedLogs() as logged:
            status, _, body = self.ask("GET", "/metrics", Broken())
        self.assertEqual((status, body), (500, "Internal Server Error"))
        [text] = map(formatEvent, logged)
        self.assertIn("ZeroDivisionError", text)


class ListenerTests(TestCase):
    """The listener on real sockets."""

    def setUp(self) -> None:
        judged: Any = Judged()
        resource = MonitoringResource(Metrics(), time.time, Clock(), judged, judged, judged)
        self.site = WatchersSite(resource, reactor=reactor)

    def listener(self, **settings: Any) -> MetricsPort:
        return MetricsPort(Config(**{"metrics_port": 0, **settings}), reactor)

    async def test_serves_and_stops(self) -> None:
        """Once started it answers on its port; once stopped it does not listen."""
        listener = self.listener()
        await listener.start(self.site)
        assert listener.port is not None
        address = listener.port.getHost()
        self.assertEqual(address.host, "127.0.0.1")
        response = await treq.get(f"http://127.0.0.1:{address.port}/health", persistent=False)
        self.assertEqual((await treq.json_content(response))["status"], "ok")
        await listener.stop()
        with socket.socket() as probe:
            self.assertEqual(probe.connect_ex(("127.0.0.1", address.port)), errno.ECONNREFUSED)

    async def test_port_taken(self) -> None:
        """A port that is taken is logged, and nothing else happens."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            seen = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
            listener = self.listener(metrics_port=taken.getsockname()[1])
            await listener.start(self.site)
            self.assertIsNone(listener.port)
            self.assertEqual(
                [event["log_level"].name for event in seen if "taken" in event["log_format"]], ["error"]
            )
            await listener.stop()

    async def test_other_failures(self) -> None:
        """An address that is not this machine's stops the start."""
        with self.assertRaisesRegex(StartupError, "^metrics-port: cannot listen: .* no such address"):
            await self.listener(metrics_host="192.0.2.1").start(self.site)

    async def test_disabled(self) -> None:
        """Without metrics nothing listens."""
        listener = self.listener(metrics_enabled=False)
        await listener.start(self.site)
        self.assertIsNone(listener.port)


class ConstructionTests(SynchronousTestCase):
    """Construction does nothing."""

    def test_construction(self) -> None:
        """A listener that was only constructed has no port and no timer."""
        memory = MemoryReactorClock()
        judged: Any = Judged()
        WatchersSite(MonitoringResource(Metrics(), time.time, memory, judged, judged, judged), reactor=memory)
        MetricsPort(Config(), memory)
        self.assertEqual((memory.tcpServers, memory.getDelayedCalls()), ([], []))
