"""The embedded PostgreSQL, for real: made, killed, orphaned, moved, out of space."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import psycopg2
from twisted.trial.unittest import TestCase

from happy.postgres import EmbeddedPostgres


class PostgresCase(TestCase):
    """Services in folders of their own."""

    def setUp(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="happy-pg-"))
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)
        self.home.chmod(0o755)
        self.folder = self.home / "postgres"

    def service(self, folder: Path | None = None, **options: Any) -> EmbeddedPostgres:
        """A service that is stopped after the test."""
        from twisted.internet import reactor

        postgres = EmbeddedPostgres(folder or self.folder, reactor=reactor, **options)
        self.addCleanup(postgres.stop)
        return postgres


class LifeTests(PostgresCase):
    """Start, stop, start."""

    async def test_start_stop_start(self) -> None:
        """Data written before a stop is there after the next start."""
        postgres = self.service()
        await postgres.start()
        query(postgres.dsn, "CREATE TABLE kept (n integer); INSERT INTO kept VALUES (7)")
        await postgres.stop()
        self.assertIsNone(postgres.pid)
        await postgres.start()
        self.assertEqual(query(postgres.dsn, "SELECT n FROM kept"), [(7,)])


def query(dsn: str, sql: str) -> list[tuple[Any, ...]]:
    """Run SQL in autocommit mode and answer the rows of the last statement."""
    connection = psycopg2.connect(dsn)
    try:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
