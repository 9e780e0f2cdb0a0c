"""Usage: reports of tokens and cost from sessions, and sums over them (http.md U4, realtime.md B.6)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import UnsetType, field

from happy.api.declare import Caller, Capability
from happy.api.structs import (
    SAFE,
    Body,
    EpochSeconds,
    Key,
    Positive,
    Reply,
    Size500,
    Timestamp,
    encode,
    stands_for,
)
from happy.capabilities._sessions import SessionNotFound
from happy.capabilities._truth import truthy
from happy.capabilities.server import Server
from happy.realtime.updates import Usage, devices_of
from happy.storage import usage as storage
from happy.storage.presence import owns_session
from happy.storage.transaction import Transaction
from happy.storage.types import Millis
from happy.storage.usage import Sum

LATEST_S = 253_402_300_799
"""The last second of the year 9999; later bounds are clamped to it (D21)."""
TOKENS = ("total", "input", "output", "cache_creation", "cache_read")
COST = ("total", "input", "output")
LARGEST_REPORT = 16 * 1024
"""Bytes of a report's numbers as JSON, and with that how many there are: sums look at each of them."""

SUM_SECONDS = 2.5
"""How long the database may add up one account's reports: some hundred thousand of usual size."""

TURN_SECONDS = 10.0
"""How long a query waits for the account's others: PostgreSQL adds up for it on one processor at most."""

usage = Capability("usage")


class UsageQuery(Body):
    """Bounds are epoch seconds, inclusive; without one, all time. No session: every session and none."""

    session_id: Key | None = None
    start_time: Positive | None = None
    end_time: Positive | None = None
    group_by: Literal["hour", "day"] | None = None


class Span(Reply):
    """Sums over the reports of an hour or a day that began at ``timestamp``."""

    timestamp: EpochSeconds
    tokens: dict[str, float] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    report_count: int


class Spans(Reply):
    usage: list[Span]
    group_by: Literal["hour", "day"]
    total_reports: int


class Report(Body):
    """``tokens`` and ``cost`` are numbers by name, ``total`` among them; they are stored as sent.

    Together they take at most 16 KiB. A ``session_id`` of any kind that is false stands for no session.
    """

    key: Size500
    session_id: Annotated[Any, stands_for(str | UnsetType | None)] = None
    tokens: dict[str, Any]
    cost: dict[str, Any]

    def __post_init__(self) -> None:
        if not _has_total(self.tokens) or not _has_total(self.cost):
            raise ValueError("tokens and cost must include total")
        if _too_large(self.tokens, self.cost):
            raise ValueError("tokens and cost must not exceed 16 KiB")
        if truthy(self.session_id) and not isinstance(self.session_id, str):
            raise ValueError("sessionId must be a text")


class Reported(Reply):
    success: Literal[True] = True
    report_id: str
    created_at: Timestamp
    updated_at: Timestamp


class UsageFailed(Reply):
    success: Literal[False] = False
    error: str


def invalid_report(data: Any) -> Mapping[str, Any]:
    """What is wrong with the data of ``usage-report``, in the contract's order."""
    if data is None:
        error = "Internal error"
    elif not isinstance(data, dict) or not isinstance(data.get("key"), str) or not data["key"]:
        error = "Invalid key"
    elif not _has_total(data.get("tokens")):
        error = "Invalid tokens object - must include total"
    elif not _has_total(data.get("cost")):
        error = "Invalid cost object - must include total"
    elif _too_large(data["tokens"], data["cost"]):
        error = "Invalid tokens object - too large"
    elif len(data["key"]) > 500:
        error = "Invalid key"
    else:
        error = "Invalid sessionId"
    return {"success": False, "error": error}


def _too_large(tokens: Any, cost: Any) -> bool:
    return len(encode((tokens, cost))) > LARGEST_REPORT


def _has_total(entries: Any) -> bool:
    return isinstance(entries, dict) and _is_number(entries.get("total"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) != math.inf


@usage.event(
    "usage-report",
    invalid=invalid_report,
    failure={"success": False, "error": "Failed to save usage report"},
    serial=True,
)
async def report(tx: Transaction, caller: Caller, body: Report) -> Reported | UsageFailed:
    """Store a report in the place of the former one with its key, and show it to the account's devices."""
    session = body.session_id or None
    if session is not None and not await owns_session(tx, caller.account, session):
        return UsageFailed(error=SessionNotFound.error)
    data = {"tokens": body.tokens, "cost": body.cost}
    row = await storage.replace(tx, caller.account, session, body.key, data)
    if session is not None:
        tx.signal(
            devices_of(caller.account),
            Usage(
                id=session,
                key=body.key,
                tokens=_announced(body.tokens, TOKENS),
                cost=_announced(body.cost, COST),
                timestamp=int(tx.now),
            ),
        )
    return Reported(report_id=row.id, created_at=row.created_at, updated_at=row.updated_at)


@usage.post("/v1/usage/query", refuses=(SessionNotFound,), failure={"error": "Failed to query usage reports"})
async def query(server: Server, caller: Caller, body: UsageQuery) -> Spans:
    """Sums of the caller's reports per hour or day of the configured time zone."""
    session, span = body.session_id or None, body.group_by or "day"
    first = Millis(1000 * min(body.start_time or 0, LATEST_S))
    last = Millis(1000 * min(body.end_time or LATEST_S, LATEST_S))
    zone = server.config.time_zone

    async def work(tx: Transaction) -> list[Sum]:
        if session is not None and not await owns_session(tx, caller.account, session):
            raise SessionNotFound
        return await storage.sums(tx, caller.account, session, first, last, span=span, zone=zone)

    turn = [f"sums {caller.account}"]
    release = await server.database.linearizer.acquire_within(TURN_SECONDS, turn, server.clock)
    try:
        sums = await server.database.read(work, owner=caller.account, seconds=SUM_SECONDS)
    finally:
        release()
    spans = _spans(sums)
    return Spans(usage=spans, group_by=span, total_reports=sum(one.report_count for one in spans))


def _announced(entries: Mapping[str, Any], known: tuple[str, ...]) -> dict[str, float]:
    """The numbers among the entries, and 0 for those that the app insists on (D-15c)."""
    numbers = {name: _shortest(value) for name, value in entries.items() if _is_number(value)}
    return dict.fromkeys(known, 0) | numbers


def _shortest(number: float) -> float:
    """A whole number without ``.0``, as ECMAScript writes it (realtime.md A.11)."""
    return int(number) if isinstance(number, float) and number.is_integer() and abs(number) < SAFE else number


def _spans(sums: list[Sum]) -> list[Span]:
    """Sums, ordered by time, gathered by span."""
    tokens: dict[int, dict[str, float]] = {}
    cost: dict[int, dict[str, float]] = {}
    counts: dict[int, int] = {}
    for one in sums:
        total = int(one.total) if one.total.is_integer() else one.total
        if one.kind == "reports":
            counts[one.start] = int(total)
        else:
            by_start = tokens if one.kind == "tokens" else cost
            by_start.setdefault(one.start, {})[one.name] = total
    return [
        Span(timestamp=start, tokens=tokens.get(start, {}), cost=cost.get(start, {}), report_count=count)
        for start, count in counts.items()
    ]
