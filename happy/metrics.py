"""What the server counts, for Prometheus.

The names and labels of the first half are the contract's (realtime.md B.11, http.md 11); those that begin
with ``happy_`` are ours. Whatever a client can choose is bounded before it becomes a label value (D-24,
D28), since every new value stays in memory until the server stops.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

APP = "happy-server"
OTHER = "other"
UNKNOWN = "unknown"

CLIENT_TYPES = frozenset(
    {"android", "cli", "cli-coding-session", "cli-control-plane", "cli-daemon", "desktop", "ios", "web"}
)
RPC_METHODS = frozenset({"resume-happy-session", "spawn-happy-session", "stop-daemon", "stop-session"})
HTTP_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
MOST_CLIENTS = 40
MOST_RPC_METHODS = 100
PIECE: Final = 200
"""Samples that are written at a time: some three milliseconds. There may be tens of thousands of them."""

_CLIENT = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}/[A-Za-z0-9][A-Za-z0-9.+_-]{0,31}")
_RPC_METHOD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REQUEST = ("method", "route", "status", "client", "client_type")
_STALLS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class _Tally:
    """What a series counts, without a mutex: whoever counts is the reactor's thread, or has a lock."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def get(self) -> float:
        return self.value

    def get_exemplar(self) -> None:
        """There are none."""


class _Counter(Counter):
    """A counter for what happens tens of thousands of times a second."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self._value = _Tally()

    def inc(self, amount: float = 1, exemplar: object = None) -> None:
        self._value.value += amount


class _Histogram(Histogram):
    """The same for measures."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self._sum = _Tally()
        self._buckets = [_Tally() for _ in self._upper_bounds]

    def observe(self, amount: float, exemplar: object = None) -> None:
        self._sum.value += amount
        self._buckets[bisect_left(self._upper_bounds, amount)].value += 1


class Bounded:
    """A set of label values that stops growing: beyond ``limit`` new ones, the rest is ``other``."""

    def __init__(self, limit: int, known: Iterable[str] = ()) -> None:
        self._values = set(known)
        self._limit = limit + len(self._values)

    def __call__(self, value: str) -> str:
        if value not in self._values:
            if len(self._values) >= self._limit:
                return OTHER
            self._values.add(value)
        return value


class Metrics:
    """Every metric as an attribute of its name; ``labels(...)`` takes the labels in the order given here."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._clients = Bounded(MOST_CLIENTS)
        self._rpc_methods = Bounded(MOST_RPC_METHODS, RPC_METHODS)
        self._answered: dict[tuple[str, str, int, tuple[str, str]], tuple[Counter, Histogram]] = {}
        self._client_labels: dict[str, tuple[str, str]] = {}
        self._count_requests()
        self._count_calls()
        self._count_messages()
        self._count_database()
        self._count_sockets()
        self._count_nodes()
        self._count_process()
        self._process = ProcessCollector(registry=self.registry)

    def _count_requests(self) -> None:
        """Requests, sockets and heartbeats, by the names of the contract."""
        self.http_requests_total = self._counter("http_requests_total", "HTTP requests", *_REQUEST)
        self.http_request_duration_seconds = self._histogram(
            "http_request_duration_seconds",
            "Time until the answer is complete",
            *_REQUEST,
            buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10),
        )
        self.websocket_connections_total = self._gauge(
            "websocket_connections_total", "Connected sockets", "type", "client", "client_type"
        )
        self.websocket_events_total = self._counter(
            "websocket_events_total", "Events from sockets", "event_type", "client", "client_type"
        )
        self.session_alive_events_total = self._counter("session_alive_events_total", "Session heartbeats")
        self.machine_alive_events_total = self._counter("machine_alive_events_total", "Machine heartbeats")
        self.session_cache_operations_total = self._counter(
            "session_cache_operations_total", "Look-ups of heartbeats in the cache", "operation", "result"
        )
        self.database_updates_skipped_total = self._counter(
            "database_updates_skipped_total", "Heartbeats that needed no write", "type"
        )
        self.database_records_total = self._gauge(
            "database_records_total", "Rows of a table: accounts are counted, the others estimated", "table"
        )
        self.redis_stream_lag_ms = self._gauge("redis_stream_lag_ms", "What the bus takes, ms; 0 without one")

    def _count_calls(self) -> None:
        """Remote calls, by the names of the contract."""
        self.rpc_calls_total = self._counter("rpc_calls_total", "RPC calls", "method", "result")
        self.rpc_call_duration_seconds = self._histogram(
            "rpc_call_duration_seconds",
            "Time until an RPC call is answered",
            "method",
            "result",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30),
        )
        self.rpc_lookup_retries = self._histogram(
            "rpc_lookup_retries", "Waits for an RPC target to appear", "method", buckets=range(8)
        )
        self.rpc_fetchsockets_timeouts_total = self._counter(
            "rpc_fetchsockets_timeouts_total", "Always 0: no look-up leaves the process", "context"
        )
        for context in ("lookup", "presence"):
            self.rpc_fetchsockets_timeouts_total.labels(context)

    def _count_messages(self) -> None:
        self.happy_commit_batches_total = self._counter(
            "happy_commit_batches_total", "Batches of messages stored"
        )
        self.happy_commit_rows = self._histogram("happy_commit_rows", "Messages in a batch", buckets=_ROWS)
        self.happy_commit_seconds = self._histogram("happy_commit_seconds", "Time to store a batch")
        self.happy_commit_queue_rows = self._gauge("happy_commit_queue_rows", "Messages waiting for a batch")
        self.happy_commit_refused_total = self._counter(
            "happy_commit_refused_total", "Messages refused because the database does not take their data"
        )
        self.happy_commit_turned_away_total = self._counter(
            "happy_commit_turned_away_total",
            "Times that messages found no room in the queue, or no end",
            "reason",
        )

    def _count_database(self) -> None:
        self.happy_transaction_retries_total = self._counter(
            "happy_transaction_retries_total", "Attempts at the database repeated", "reason"
        )
        self.happy_database_connections = self._gauge(
            "happy_database_connections", "Database connections", "state"
        )
        self.happy_database_waiting = self._gauge(
            "happy_database_waiting",
            "Calls that wait for a connection, or for their turn on an account",
            "reason",
        )
        self.happy_database_refused_total = self._counter(
            "happy_database_refused_total",
            "Calls that did not get their share of the database in time",
            "reason",
        )
        self.happy_worker_restarts_total = self._counter(
            "happy_worker_restarts_total", "Workers that were replaced after they ended"
        )
        self.happy_postgres_restarts_total = self._counter(
            "happy_postgres_restarts_total", "Restarts of the embedded PostgreSQL after it died"
        )
        self.happy_postgres_silent_total = self._counter(
            "happy_postgres_silent_total", "Times that the embedded PostgreSQL ran and took no connection"
        )

    def _count_nodes(self) -> None:
        self.happy_bus_up = self._gauge("happy_bus_up", "Whether the bus between nodes is up", "node")
        self.happy_nodes = self._gauge("happy_nodes", "Nodes that this one hears of, itself too", "node")
        self.happy_hosted_accounts = self._gauge(
            "happy_hosted_accounts", "Accounts whose updates are heard from other nodes", "node"
        )
        self.happy_feed_gaps_total = self._counter(
            "happy_feed_gaps_total",
            "Times that an account missed updates of other nodes",
            "outcome",
        )
        self.happy_catch_ups_total = self._counter(
            "happy_catch_ups_total", "Looks at the database for what other nodes may have told", "reason"
        )
        self.happy_bus_messages_total = self._counter(
            "happy_bus_messages_total", "Messages between nodes", "direction", "kind"
        )
        self.happy_bus_seconds = self._histogram(
            "happy_bus_seconds", "Time until a node hears over the bus what it said itself"
        )
        self.happy_feed_waiting = self._gauge(
            "happy_feed_waiting", "Updates that wait for those of other nodes before them", "node"
        )
        self.happy_unconfirmed = self._gauge(
            "happy_unconfirmed", "Accounts that are about to be heard from other nodes", "node"
        )
        self.happy_calls_remote_total = self._counter(
            "happy_calls_remote_total", "RPC calls that went to another node", "result"
        )
        self.happy_wrong_node_total = self._counter(
            "happy_wrong_node_total", "Requests about sessions that another node has, by their ids"
        )

    def _count_sockets(self) -> None:
        self.happy_sockets = self._gauge("happy_sockets", "Open Engine.IO sessions")
        self.happy_refused_connections_total = self._counter(
            "happy_refused_connections_total", "Connections cut because as many as possible were open"
        )
        self.happy_deliveries_total = self._counter(
            "happy_deliveries_total", "Packets handed to sockets by fan-out"
        )
        self.happy_signals_dropped_total = self._counter(
            "happy_signals_dropped_total", "Passing signals dropped because too many waited to be told"
        )
        self.happy_recoveries_total = self._counter(
            "happy_recoveries_total", "Clients that came back, and how they were received", "result"
        )
        self.happy_replay_bytes = self._gauge(
            "happy_replay_bytes", "Bytes of events kept for clients that may come back"
        )
        self.happy_memory_bytes = self._gauge("happy_memory_bytes", "Bytes that clients make the server keep")
        self.happy_memory_refused_total = self._counter(
            "happy_memory_refused_total",
            "Requests and sockets ended because their owner kept too much",
            "reason",
        )
        self.happy_slow_readers_total = self._counter(
            "happy_slow_readers_total", "Sockets closed because they read too slowly", "reason"
        )
        self.happy_client_faults_total = self._counter(
            "happy_client_faults_total", "Sockets closed because what they sent met a fault of ours"
        )
        self.happy_heartbeats_refused_total = self._counter(
            "happy_heartbeats_refused_total", "Heartbeats dropped: too many, or never to be stored", "type"
        )

    def _count_process(self) -> None:
        self.happy_push_total = self._counter("happy_push_total", "Push notifications", "outcome")
        self.happy_outgoing_calls_total = self._counter(
            "happy_outgoing_calls_total", "Calls to third parties", "service", "outcome"
        )
        self.happy_reactor_stall_seconds = self._histogram(
            "happy_reactor_stall_seconds",
            "Times in which nothing but one turn of the reactor was done, from 5 ms on",
            buckets=_STALLS,
        )
        self.happy_log_suppressed_total = self._counter(
            "happy_log_suppressed_total", "Messages that were not written into the log", "reason"
        )
        self.happy_not_ready = self._gauge(
            "happy_not_ready", "1 for each reason not to send clients here", "reason"
        )
        self.happy_data_free_bytes = self._gauge(
            "happy_data_free_bytes", "Room on the file system of the data folder"
        )

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return _Counter(name, help, labels, registry=self.registry)

    def _gauge(self, name: str, help: str, *labels: str) -> Gauge:
        return Gauge(name, help, labels, registry=self.registry)

    def _histogram(
        self, name: str, help: str, *labels: str, buckets: Iterable[float] = Histogram.DEFAULT_BUCKETS
    ) -> Histogram:
        return _Histogram(name, help, labels, registry=self.registry, buckets=tuple(buckets))

    def client_labels(self, raw: str | None) -> tuple[str, str]:
        """The labels ``client`` and ``client_type`` for what a client says it is (``X-Happy-Client``).

        Only ``name/version`` is taken as it is, and only so many different ones.
        """
        if not raw:
            return UNKNOWN, UNKNOWN
        if raw in self._client_labels:
            return self._client_labels[raw]
        kind = raw.partition("/")[0].lower()
        client = self._clients(raw) if _CLIENT.fullmatch(raw) else OTHER
        if client == OTHER:
            return OTHER, kind if kind in CLIENT_TYPES else OTHER
        # These are few: what is beyond the bound is other.
        self._client_labels[raw] = (client, kind)
        return client, kind

    def rpc_method(self, name: str) -> str:
        """The label ``method`` of an RPC: the part after the last colon, of so many different ones."""
        tail = name.rpartition(":")[2]
        return self._rpc_methods(tail) if _RPC_METHOD.fullmatch(tail) else OTHER

    def answered(self, method: str, route: str, status: int, client: tuple[str, str], seconds: float) -> None:
        """Count an HTTP request; ``route`` is the template or ``unmatched``, ``client`` its two labels."""
        key = (method if method in HTTP_METHODS else OTHER, route, status, client)
        series = self._answered.get(key)
        if series is None:
            labels = (key[0], route, str(status), *client)
            series = self._answered[key] = (
                self.http_requests_total.labels(*labels),
                self.http_request_duration_seconds.labels(*labels),
            )
        series[0].inc()
        series[1].observe(seconds)

    def exposition(self) -> bytes:
        """Everything in the Prometheus text format 0.0.4, each with the label ``app``."""
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """The exposition, a few milliseconds' work at a time."""
        for collector in [*vars(self).values()]:
            if isinstance(collector, MetricWrapperBase):
                (family,) = collector.describe()
                # What it would collect, but one by one.
                samples = (one._replace(name=family.name + one.name) for one in collector._samples())
                yield from _written(family, samples)
        for family in self._process.collect():
            yield from _written(family, iter(family.samples))


class _Family(Collector):
    """Some samples of a metric, as they leave: with the constant label.

    Whole bounds of buckets are written as ECMAScript does, ``5`` and not ``5.0``: to Prometheus they are
    texts, and the original's dashboards name them.
    """

    def __init__(self, family: Metric, samples: Iterable[Sample]) -> None:
        self._family = family
        family.samples = [
            sample._replace(labels={"app": APP} | sample.labels | _bound(sample.labels)) for sample in samples
        ]

    def collect(self) -> Iterator[Metric]:
        yield self._family


def _written(family: Metric, samples: Iterator[Sample]) -> Iterator[bytes]:
    """A metric in pieces, without the times of its series' creation."""
    told = (sample for sample in samples if sample.name != f"{family.name}_created")
    yield generate_latest(_Family(family, islice(told, PIECE)))
    while some := list(islice(told, PIECE)):
        # Its help and its type are told once.
        yield generate_latest(_Family(family, some)).split(b"\n", 2)[2]


def _bound(labels: Mapping[str, str]) -> dict[str, str]:
    return {"le": labels["le"].removesuffix(".0")} if "le" in labels else {}
