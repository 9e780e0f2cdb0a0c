"""A server, an innocent client and an attacker, and one attack after the other."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile.attacker import Attacker
from tests.hostile.judging import Bounds, Outcome
from tests.hostile.scene import CANARY, FILES, LOGINS, Scene
from tests.hostile.watching import MIB, Gauge, Seen, Watch, page, stalls
from tests.interposed import Switches
from tests.operated import Operated, free_port, operated

SOURCE = "127.0.0.66"
"""Where attackers come from; the innocent comes from 127.0.0.1."""
_SETTLING = {False: 0.1, True: 0.5}
_STEP = 0.25


@dataclass
class Arena:
    """A running server with its innocent client."""

    server: Operated
    metrics: int
    watch: Watch
    at_length: bool
    attacker: Attacker = field(default_factory=Attacker)
    base: int = 0

    @property
    def grown(self) -> float:
        """How much more memory there is than at the beginning, in MiB."""
        return (Gauge(self.server.pid).now - self.base) / MIB

    def play(self, name: str, bounds: Bounds, patience: float) -> Outcome:
        """Make an attack that may take ``patience`` seconds, and judge what it did."""
        self.watch.report()
        server, before = self.server, stalls(page(self.metrics))
        log, began = server.log_size, time.monotonic()
        scene = Scene(server.port, SOURCE, self.at_length, self.watch.account, str(server.folder))
        with Gauge(server.pid) as gauge:
            base = gauge.now
            result = self.attacker.attack(name, scene, patience)
            seconds = time.monotonic() - began
            time.sleep(_SETTLING[self.at_length])
            seen = self.watch.report() if server.running else Seen(0, 0.0, {})
        outcome = Outcome(name, seen, stalls(page(self.metrics)).since(before), seconds, result.note)
        outcome.misbehaved, outcome.alive = result.wrong, server.running
        outcome.growth = (gauge.most - base) / MIB
        self._look_at_log(outcome, log)
        if self.at_length:
            self.attacker.close()
        outcome.left, outcome.left_after = self._wait_for_memory(base, bounds)
        outcome.judge(bounds)
        return outcome

    def _look_at_log(self, outcome: Outcome, start: int) -> None:
        with (self.server.folder / "log").open("rb") as file:
            file.seek(start)
            said = file.read()
        outcome.log = len(said) / 1024
        outcome.tracebacks = said.count(b"Traceback")
        outcome.leaked = CANARY.encode() in said or SOURCE.encode() in said

    def _wait_for_memory(self, base: int, bounds: Bounds) -> tuple[float, float]:
        """How much more there is than at the start, and after how many seconds."""
        gauge, began = Gauge(self.server.pid), time.monotonic()
        while True:
            left, waited = (gauge.now - base) / MIB, time.monotonic() - began
            if left <= bounds.left or waited >= bounds.patience or not self.server.running:
                return left, waited
            time.sleep(_STEP)


@contextmanager
def arena(*, at_length: bool, twistd: Path | None = None, options: Sequence[str] = ()) -> Iterator[Arena]:
    """A fresh server in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="happy-hostile-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "webapp").mkdir()
        (folder / "webapp" / "index.html").write_text("<html></html>")
        metrics, switches = free_port(), Switches(folder)
        with operated(
            folder,
            f"--metrics-port={metrics}",
            f"--address-limit={LOGINS}",
            f"--webapp={folder}/webapp",
            *options,
            environment=switches.environment,
            twistd=twistd,
            files=FILES,
        ) as server:
            server.start()
            watch = Watch(server.url)
            playing = Arena(server, metrics, watch, at_length, base=Gauge(server.pid).now)
            try:
                yield playing
            finally:
                playing.attacker.close()
                watch.close()
