"""Metrics under the contract's names, with bounded labels."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from happy.metrics import MOST_CLIENTS, MOST_RPC_METHODS, PIECE, Metrics

REQUEST = {"method", "route", "status", "client", "client_type"}
CONTRACT = {
    "http_requests_total": ("counter", REQUEST),
    "http_request_duration_seconds": ("histogram", REQUEST),
    "websocket_connections_total": ("gauge", {"type", "client", "client_type"}),
    "websocket_events_total": ("counter", {"event_type", "client", "client_type"}),
    "session_alive_events_total": ("counter", set()),
    "machine_alive_events_total": ("counter", set()),
    "session_cache_operations_total": ("counter", {"operation", "result"}),
    "database_updates_skipped_total": ("counter", {"type"}),
    "database_records_total": ("gauge", {"table"}),
    "redis_stream_lag_ms": ("gauge", set()),
    "rpc_calls_total": ("counter", {"method", "result"}),
    "rpc_call_duration_seconds": ("histogram", {"method", "result"}),
    "rpc_lookup_retries": ("histogram", {"method"}),
    "rpc_fetchsockets_timeouts_total": ("counter", {"context"}),
}
"""Names, types and labels of realtime.md B.11."""

BUCKETS = {
    "http_request_duration_seconds": [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10],
    "rpc_call_duration_seconds": [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30],
    "rpc_lookup_retries": [0, 1, 2, 3, 4, 5, 6, 7],
}


def touched() -> Metrics:
    """Metrics with one series of each kind."""
    metrics = Metrics()
    for name, (kind, labels) in CONTRACT.items():
        metric = getattr(metrics, name)
        series = metric.labels(**{label: label.upper() for label in labels}) if labels else metric
        series.observe(0.2) if kind == "histogram" else series.inc()
    return metrics


def test_contract_names_types_and_labels() -> None:
    """Every metric of the contract is there, under its name, of its type, with its labels and ``app``."""
    text = touched().exposition().decode()
    declared = dict(line.split(" ")[2:4] for line in text.splitlines() if line.startswith("# TYPE "))
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    for name, (kind, labels) in CONTRACT.items():
        assert declared[name] == kind
        series = [one for one in samples if one.name == (f"{name}_count" if kind == "histogram" else name)]
        assert all(set(sample.labels) == labels | {"app"} for sample in series)
        assert sum(sample.value for sample in series) == 1


def test_buckets() -> None:
    """Histograms have the contract's buckets."""
    bounds: dict[str, list[float]] = {}
    for family in text_string_to_metric_families(touched().exposition().decode()):
        for sample in family.samples:
            if family.name in BUCKETS and sample.name.endswith("_bucket"):
                bounds.setdefault(family.name, []).append(float(sample.labels["le"]))
    assert bounds == {name: [*values, float("inf")] for name, values in BUCKETS.items()}


def test_whole_bounds_are_written_short() -> None:
    """The bound of a bucket is a label, so a text: whole numbers are written as the original does."""
    text = touched().exposition().decode()
    assert 'rpc_lookup_retries_bucket{app="happy-server",le="7",method="METHOD"} 1.0' in text
    assert 'le="0.05"' in text
    assert '.0",' not in text


def test_lookups_of_sockets_never_time_out() -> None:
    """Both contexts of look-ups that cannot time out in one process are there, at zero."""
    text = Metrics().exposition().decode()
    for context in ("lookup", "presence"):
        assert f'rpc_fetchsockets_timeouts_total{{app="happy-server",context="{context}"}} 0.0' in text


def test_everything_has_the_application_label() -> None:
    """No sample is without ``app``, and none tells when its series began."""
    families = list(text_string_to_metric_families(touched().exposition().decode()))
    samples = [sample for family in families for sample in family.samples]
    assert {sample.labels.get("app") for sample in samples} == {"happy-server"}
    assert not [sample.name for sample in samples if sample.name.endswith("_created")]


def test_many_series_in_pieces() -> None:
    """However many series there are, a piece has few of them, and all of them are there once."""
    metrics = Metrics()
    for number in range(PIECE):
        metrics.answered("GET", f"/{number}", 200, ("cli/1.0.0", "cli"), 0.1)
    pieces = list(metrics.pieces())
    assert max(piece.count(b"\n") for piece in pieces) <= PIECE + 2
    text = b"".join(pieces).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert len(families) == text.count("# TYPE ")
    assert len(families["http_requests"].samples) == PIECE
    assert len(families["http_request_duration_seconds"].samples) == 12 * PIECE


def test_process_and_own_names() -> None:
    """Besides the contract's, there are only metrics of ours and of the process."""
    families = text_string_to_metric_families(Metrics().exposition().decode())
    others = (
        {family.name for family in families}
        - {name.removesuffix("_total") for name in CONTRACT}
        - set(CONTRACT)
    )
    assert all(name.startswith(("happy_", "process_")) for name in others)
    assert "process_resident_memory_bytes" in others


def test_lag_is_zero() -> None:
    """The lag of a stream that does not exist is 0, not the time since 1970 (D-25)."""
    assert 'redis_stream_lag_ms{app="happy-server"} 0.0' in Metrics().exposition().decode()


def test_two_servers_count_apart() -> None:
    """Each server has counters of its own."""
    one, other = Metrics(), Metrics()
    one.session_alive_events_total.inc()
    assert other.registry.get_sample_value("session_alive_events_total") == 0


@pytest.mark.parametrize(
    ("raw", "labels"),
    [
        (None, ("unknown", "unknown")),
        ("", ("unknown", "unknown")),
        ("ios/1.2.3", ("ios/1.2.3", "ios")),
        ("cli-daemon/1.2.5-beta.1+4", ("cli-daemon/1.2.5-beta.1+4", "cli-daemon")),
        ("Web/2", ("Web/2", "web")),
        ("desktop", ("other", "desktop")),
        ("ios/1.2 (spyware)", ("other", "ios")),
        ("curl", ("other", "other")),
        ("a/b/c", ("other", "other")),
        ("x/" + "1" * 33, ("other", "other")),
        ('ios/1"\n', ("other", "ios")),
    ],
)
def test_client_labels(raw: str | None, labels: tuple[str, str]) -> None:
    """Name and version are taken as they are, anything else only as far as it is well known."""
    assert Metrics().client_labels(raw) == labels


def test_clients_are_bounded() -> None:
    """However many clients introduce themselves, only so many labels come of it; known kinds stay apart."""
    metrics = Metrics()
    labels = {metrics.client_labels(f"c{number}/1") for number in range(MOST_CLIENTS * 3)}
    assert len(labels) == MOST_CLIENTS + 1
    assert metrics.client_labels("c0/1") == ("c0/1", "c0")
    assert metrics.client_labels("new/1") == ("other", "other")
    assert metrics.client_labels("ios/9") == ("other", "ios")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("machine:spawn-happy-session", "spawn-happy-session"),
        ("a:b:bash", "bash"),
        ("bash", "bash"),
        ("", "other"),
        ("m:", "other"),
        ("m:a b", "other"),
        ("m:" + "x" * 65, "other"),
    ],
)
def test_rpc_method(name: str, label: str) -> None:
    """The label is what follows the last colon, if it looks like a method's name."""
    assert Metrics().rpc_method(name) == label


def test_rpc_methods_are_bounded() -> None:
    """Invented methods cannot fill the memory, nor crowd out the well-known ones."""
    metrics = Metrics()
    labels = {metrics.rpc_method(f"m:method-{number}") for number in range(MOST_RPC_METHODS * 3)}
    assert len(labels) == MOST_RPC_METHODS + 1
    assert metrics.rpc_method("m:stop-daemon") == "stop-daemon"


@given(st.lists(st.text() | st.from_regex(r"[a-z]{1,4}/[0-9]", fullmatch=True)))
def test_any_client_text_is_a_bounded_label(texts: list[str]) -> None:
    """Labels are short and printable whatever a client sends."""
    metrics = Metrics()
    for text in texts:
        for label in (*metrics.client_labels(text), metrics.rpc_method(text)):
            assert 0 < len(label) <= 65
            assert set(label) <= set(string.ascii_letters + string.digits + "._+-/")


def test_answered() -> None:
    """A request is counted and timed under the same labels; odd methods share one."""
    metrics = Metrics()
    metrics.answered("POST", "/v1/sessions/:sessionId/archive", 200, ("ios/1", "ios"), 0.25)
    metrics.answered("BREW", "unmatched", 404, ("unknown", "unknown"), 0)
    text = metrics.exposition().decode()
    labels = (
        'app="happy-server",client="ios/1",client_type="ios",method="POST",'
        'route="/v1/sessions/:sessionId/archive",status="200"'
    )
    assert f"http_requests_total{{{labels}}} 1.0" in text
    assert f"http_request_duration_seconds_sum{{{labels}}} 0.25" in text
    assert 'method="other",route="unmatched",status="404"' in text
