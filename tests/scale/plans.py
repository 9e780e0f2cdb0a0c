"""What PostgreSQL does for the statements of the storage modules, as it tells afterwards."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import psycopg2

from happy.storage.pool import SESSION
from happy.storage.transaction import Parameters
from happy.storage.types import Millis, register_casts

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """One executed statement: its tree of nodes, as EXPLAIN (ANALYZE, BUFFERS) gives it."""

    root: dict[str, Any]

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Every node of the tree."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.get("Plans", ())

    @property
    def scanned(self) -> set[str]:
        """The tables that were read from one end to the other."""
        return {node["Relation Name"] for node in self.nodes() if node["Node Type"] == "Seq Scan"}

    @property
    def most_rows(self) -> int:
        """The rows that the busiest node looked at, those that it then left out included."""
        return max(map(_rows, self.nodes()))

    @property
    def pages(self) -> int:
        """How many times a page of a table or an index was looked at."""
        return int(self.root["Shared Hit Blocks"] + self.root["Shared Read Blocks"])

    def __repr__(self) -> str:
        return "; ".join(f"{_name(node)}: {_rows(node)} rows" for node in self.nodes())


def _name(node: dict[str, Any]) -> str:
    return f"{node['Node Type']} {node.get('Index Name') or node.get('Relation Name', '')}"


def _rows(node: dict[str, Any]) -> int:
    left_out = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int((node["Actual Rows"] + left_out) * node["Actual Loops"])


class Explaining:
    """Stands in for a transaction: runs every statement twice, the first time to hear how.

    What the statements change is rolled back by :meth:`plans`.
    """

    def __init__(self, dsn: str) -> None:
        self.now = Millis(time.time() * 1000)
        self._connection = psycopg2.connect(
            dsn, options=" ".join(f"-c {name}={value}" for name, value in SESSION.items())
        )
        register_casts(self._connection)
        self._plans: list[Plan] = []

    def plans(self, work: Callable[[Any], Awaitable[T]]) -> tuple[T, list[Plan]]:
        """Run work that needs nothing but a transaction; its result, and the plans of its statements."""
        self._plans = []
        try:
            work(self).__await__().__next__()
        except StopIteration as done:
            return done.value, self._plans
        finally:
            self._connection.rollback()
        raise RuntimeError("the work waits for something else than the database")

    async def rows(self, sql: str, params: Parameters = ()) -> list[tuple[Any, ...]]:
        """As :meth:`Transaction.rows`."""
        cursor = self._run(sql, params)
        return cursor.fetchall() if cursor.description else []

    async def row(self, sql: str, params: Parameters = ()) -> tuple[Any, ...] | None:
        """As :meth:`Transaction.row`."""
        cursor = self._run(sql, params)
        return cursor.fetchone() if cursor.description else None

    async def run(self, sql: str, params: Parameters = ()) -> int:
        """As :meth:`Transaction.run`."""
        return int(self._run(sql, params).rowcount)

    def _run(self, sql: str, params: Parameters) -> Any:
        cursor = self._connection.cursor()
        cursor.execute("SAVEPOINT before")
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params or None)
        self._plans.append(Plan(_decoded(cursor.fetchone()[0])))
        cursor.execute("ROLLBACK TO before")
        cursor.execute(sql, params or None)
        return cursor

    def close(self) -> None:
        """Done."""
        self._connection.close()


def _decoded(answer: Any) -> dict[str, Any]:
    found: Sequence[dict[str, Any]] = msgspec.json.decode(answer) if isinstance(answer, str) else answer
    return dict(found[0]["Plan"])
