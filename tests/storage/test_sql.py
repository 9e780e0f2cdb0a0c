"""Every SQL statement of the storage modules is planned on the migrated schema."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import psycopg2
import pytest

import happy.storage
from happy.storage.large import Table
from tests.harness import scratch_database

_NAMED = re.compile(r"%\((\w+)\)s")


def statements() -> Iterator[tuple[str, str]]:
    """Every public upper-case constant that holds SQL, with its name, and the statements of tables."""
    for info in pkgutil.iter_modules(happy.storage.__path__, "happy.storage."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            where = f"{info.name.rpartition('.')[2]}.{name}"
            if not name.startswith("_") and name.isupper() and _is_query(value):
                yield where, value.strip()
            if isinstance(value, Table):
                yield f"{where}.again", value.again.strip()
                yield from ((f"{where}.{column.name}", sql) for column, sql in value.slices.items())


def _is_query(value: object) -> bool:
    """Whether it is SQL, as the storage modules write it; a session's settings and blocks have no plan."""
    return isinstance(value, str) and value.startswith("\n") and not value.startswith(("\nSET ", "\nDO "))


STATEMENTS = dict(statements())


def numbered(sql: str) -> str:
    """A statement with ``$n`` instead of psycopg2's placeholders."""
    names = list(dict.fromkeys(_NAMED.findall(sql)))
    sql = _NAMED.sub(lambda match: f"${names.index(match[1]) + 1}", sql)
    counter = iter(range(1, 100))
    return re.sub("%s", lambda _: f"${next(counter)}", sql).replace("%%", "%")


@pytest.fixture(scope="module")
def connection() -> Iterator[object]:
    """One session on a migrated database."""
    with scratch_database() as dsn:
        connection = psycopg2.connect(dsn)
        yield connection
        connection.close()


def test_there_are_statements() -> None:
    """The search for constants finds those of the storage modules."""
    assert len(STATEMENTS) > 50


@pytest.mark.parametrize("name", STATEMENTS)
def test_statement_has_a_plan(name: str, connection: psycopg2.extensions.connection) -> None:
    """The statement is one that PostgreSQL understands, with tables and columns that exist."""
    sql = STATEMENTS[name]
    with connection, connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (GENERIC_PLAN) {numbered(sql)}")
        assert cursor.fetchall()
