"""The metrics listener and the measurements at intervals."""

from __future__ import annotations

import errno
import json
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import treq
from treq.testing import StubTreq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from happy.metrics import Metrics
from happy.service.monitoring import LAG_INTERVAL, Gauges, Monitoring, MonitoringResource, Stalls, free_bytes
from happy.settings.config import Config

NOW = 1_769_860_800.25


class Judged:
    """Readiness as a test says; stands for the real one, and for the status as far as metrics need it."""

    def __init__(self, *reasons: str) -> None:
        self.found = list(reasons)
        self.counted = 0

    async def reasons(self) -> list[str]:
        return self.found

    async def count(self, patience: float) -> None:
        self.counted += 1

    def columns(self) -> dict[str, list[int]]:
        return {"at": [1]}

    async def report(self) -> dict[str, int]:
        return {"accounts": 3}


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
            {"status": {"accounts": 3}, "history": {"at": [1]}},
        )

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

    def monitoring(self, **settings: Any) -> Monitoring:
        judged: Any = Judged()
        config = Config(**{"metrics_port": 0, **settings})
        return Monitoring(config, Metrics(), reactor, time.time, judged, judged, judged)

    async def test_serves_and_stops(self) -> None:
        """Once started it answers on its port; once stopped it does not listen."""
        monitoring = self.monitoring()
        await monitoring.start()
        assert monitoring.port is not None
        address = monitoring.port.getHost()
        self.assertEqual(address.host, "127.0.0.1")
        response = await treq.get(f"http://127.0.0.1:{address.port}/health", persistent=False)
        self.assertEqual((await treq.json_content(response))["status"], "ok")
        await monitoring.stop()
        with socket.socket() as probe:
            self.assertEqual(probe.connect_ex(("127.0.0.1", address.port)), errno.ECONNREFUSED)

    async def test_port_taken(self) -> None:
        """A port that is taken is logged, and nothing else happens."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            seen = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
            monitoring = self.monitoring(metrics_port=taken.getsockname()[1])
            await monitoring.start()
            self.assertIsNone(monitoring.port)
            self.assertEqual(
                [event["log_level"].name for event in seen if "taken" in event["log_format"]], ["error"]
            )
            await monitoring.stop()

    async def test_other_failures(self) -> None:
        """An address that is not this machine's stops the start."""
        with self.assertRaises(CannotListenError):
            await self.monitoring(metrics_host="192.0.2.1").start()

    async def test_disabled(self) -> None:
        """Without metrics nothing listens."""
        monitoring = self.monitoring(metrics_enabled=False)
        await monitoring.start()
        self.assertIsNone(monitoring.port)


class GaugesTests(SynchronousTestCase):
    """Measurements at intervals, on a clock of the test's own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.asked: list[Deferred[Mapping[str, int]]] = []
        self.free = 7_000_000
        self.gauges = Gauges(self.metrics, self.clock, self.count, self.room)
        self.gauges.start()

    async def count(self) -> Mapping[str, int]:
        self.asked.append(Deferred())
        return await self.asked[-1]

    async def room(self) -> int:
        if not self.free:
            raise OSError
        return self.free

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def test_records_every_minute(self) -> None:
        """Records are counted at the start and once a minute."""
        self.asked[0].callback({"accounts": 2, "messages": 0})
        self.clock.pump([1] * 59)
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(1)
        self.asked[1].callback({"accounts": 3})
        self.assertEqual(self.value("database_records_total", table="accounts"), 3)
        self.assertEqual(self.value("database_records_total", table="messages"), 0)

    def test_slow_count_is_not_repeated(self) -> None:
        """While an answer is outstanding, nobody asks again; one that does not come is not waited for."""
        self.clock.pump([60] * 4)
        self.assertEqual(len(self.asked), 1)
        self.clock.pump([60] * 2)
        self.assertEqual(len(self.asked), 2)

    def test_failed_count(self) -> None:
        """A failed count is survived; the next minute may do better."""
        self.asked[0].errback(ConnectionError("postgresql://u:pw@h"))
        self.clock.pump([1] * 60)
        self.asked[1].callback({"accounts": 3})
        self.assertEqual(self.value("database_records_total", table="accounts"), 3)

    def test_room_every_minute(self) -> None:
        """The room for data is measured as often, and one that cannot be measured stays as it was."""
        self.asked[0].callback({})
        self.assertEqual(self.value("happy_data_free_bytes"), 7_000_000)
        for free, shown in ((0, 7_000_000), (5_000_000, 5_000_000)):
            self.free = free
            self.clock.advance(60)
            self.asked[-1].callback({})
            self.assertEqual(self.value("happy_data_free_bytes"), shown)

    def test_stop(self) -> None:
        """After the stop no timer is left."""
        self.asked[0].callback({})
        self.gauges.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class StallTests(SynchronousTestCase):
    """How long nobody was heard."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.stalls = Stalls(self.metrics, self.clock)

    def value(self, what: str, **labels: str) -> float | None:
        name = f"happy_reactor_stall_seconds_{what}"
        return self.metrics.registry.get_sample_value(name, labels)

    def test_told(self) -> None:
        """A long turn is counted in its bucket; one of a second or more is said in the log, with its time."""
        seen = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        for seconds in (0.051, 0.99, 1.25):
            self.stalls.took(seconds)
        self.assertEqual([self.value("bucket", le=le) for le in ("0.05", "0.1", "1.0")], [0, 1, 2])
        self.assertEqual(["1.2 s" in formatEvent(event) for event in seen], [True])

    def test_timer(self) -> None:
        """Where turns are not timed, a timer that is late tells of it; one that is not tells nothing."""
        self.stalls.start()
        self.clock.pump([LAG_INTERVAL] * 8)
        self.assertEqual(self.value("count"), 0)
        self.clock.advance(LAG_INTERVAL + 0.75)
        self.assertEqual((self.value("count"), self.value("sum")), (1, 0.75))
        self.stalls.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RoomTests(SynchronousTestCase):
    """The room of a file system."""

    def test_free_bytes(self) -> None:
        """It is that of the folder, or of where the folder would be made."""
        here = Path(tempfile.mkdtemp())
        self.addCleanup(here.rmdir)
        found = free_bytes(here / "not" / "made")
        self.assertGreater(found, 0)
        self.assertAlmostEqual(found, free_bytes(here), delta=found // 2)


class ConstructionTests(SynchronousTestCase):
    """Construction does nothing."""

    def test_construction(self) -> None:
        """A listener that was only constructed has no port and no timer."""
        memory = MemoryReactorClock()
        judged: Any = Judged()
        Monitoring(Config(), Metrics(), memory, time.time, judged, judged, judged)
        self.assertEqual((memory.tcpServers, memory.getDelayedCalls()), ([], []))
