"""Taking over a database that the original server made and filled: its schema and its data stay."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import pg_dump, psql, restore, run_migrations, scratch_database

_DUMP = Path(__file__).parents[1] / "vectors" / "takeover.sql.gz"


@pytest.fixture
def original() -> Iterator[str]:
    """The URL of the original's database, as it was left."""
    with scratch_database(migrated=False) as dsn:
        restore(dsn, gzip.decompress(_DUMP.read_bytes()).decode())
        yield dsn


def schema(dsn: str) -> list[str]:
    """Everything that the database's schema consists of, each with the statements that make it."""
    dump = pg_dump(dsn, "--schema-only", "--no-owner").partition(
        "\n--\n-- PostgreSQL database dump complete"
    )[0]
    things = re.sub(r"^SET default_.*\n\n?", "", dump, flags=re.MULTILINE).split("\n--\n-- Name: ")
    return [thing.strip() for thing in things[1:]]


def data(dsn: str) -> list[str]:
    """Every row of the original's tables."""
    dump = pg_dump(dsn, "--data-only", "--inserts", "--exclude-table=happy_*")
    return [line for line in dump.splitlines() if line.startswith("INSERT")]


def test_only_additions(original: str) -> None:
    """Taking over adds things called happy_something, and changes no table, column, type or index."""
    before = schema(original)
    run_migrations(original)
    after = schema(original)
    assert [thing for thing in after if not thing.startswith("happy_")] == before
    assert len(after) > len(before)


def test_a_new_database_is_the_same(original: str) -> None:
    """A database we make has the schema of one that the original made and we took over."""
    run_migrations(original)
    with scratch_database() as made:
        assert schema(made) == schema(original)


def test_no_row_changes(original: str) -> None:
    """Every row is as it was, in every table of the original."""
    before = data(original)
    assert len(before) > 150
    run_migrations(original)
    assert data(original) == before


def test_the_original_would_accept_a_database_we_made(original: str) -> None:
    """The record of migrations holds what the original's holds, under ids of its own."""
    recorded = (
        'SELECT "migration_name", "checksum", "finished_at" IS NOT NULL, "rolled_back_at", "logs",'
        ' "applied_steps_count", length("id") FROM "_prisma_migrations" ORDER BY "migration_name"'
    )
    with scratch_database() as made:
        assert psql(made, recorded) == psql(original, recorded)
        assert psql(made, 'SELECT count(DISTINCT "id") FROM "_prisma_migrations"') == [(37,)]
