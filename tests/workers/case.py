"""A parent and its workers in the process of a test, on a database of their own."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from happy.metrics import Metrics
from happy.settings.loading import load
from happy.workers.parent import WorkersRunning
from tests.harness import scratch_database
from tests.live.serving import free_port

PATIENCE = 60.0


class WorkersCase(TestCase):
    """``port`` serves clients, ``metrics`` metrics; ``logged`` is what the workers said.

    ``folder`` has the data; it is made by the first start.
    """

    timeout = 120

    def setUp(self) -> None:
        database = scratch_database()
        self.dsn = database.__enter__()
        self.addCleanup(database.__exit__, None, None, None)
        self.outside = Path(tempfile.mkdtemp(prefix="happy-workers-"))
        self.addCleanup(shutil.rmtree, self.outside)
        self.folder = self.outside / "data"
        self.port, self.metrics = free_port(), free_port()
        self.logged: list[str] = []

    def make(self, **settings: str) -> WorkersRunning:
        """A parent, of two unless ``settings`` say otherwise."""
        given = {
            "data-dir": [str(self.folder)],
            "database-url": [self.dsn],
            "database-pool": ["2"],
            "workers": ["2"],
            "metrics-port": [str(self.metrics)],
            "listen": [f"tcp:{self.port}:interface=127.0.0.1", f"unix:{self.outside}/socket:mode=600"],
            "master-secret": [secrets.token_hex(32)],
            **{name: [text] for name, text in settings.items()},
        }
        config = load(given, {})
        return WorkersRunning(config, reactor, Metrics(), config.workers, self)

    async def started(self, **settings: str) -> WorkersRunning:
        """A parent whose workers serve."""
        parent = self.make(**settings)
        await Deferred.fromCoroutine(parent.start()).addTimeout(PATIENCE, reactor)
        return parent

    def pass_on(self, when: float, level: str, namespace: str, text: str) -> None:
        self.logged.append(text)
