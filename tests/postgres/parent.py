"""A server process around an embedded PostgreSQL, for tests that kill it.

``python -m tests.postgres.parent FOLDER`` prints PostgreSQL's process id and its URL once it is ready,
and stops in order when its standard input ends.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor, stdio
from twisted.internet.protocol import Protocol

from happy.postgres import EmbeddedPostgres


class Control(Protocol):
    """The test on the other side of the pipes."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self.postgres = postgres

    def say(self, line: str) -> None:
        self.transport.write(line.encode() + b"\n")  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        self.postgres.stop().addBoth(lambda _: reactor.stop())  # type: ignore[attr-defined]


def main(folder: str) -> None:
    """Run until the test lets go."""
    postgres = EmbeddedPostgres(Path(folder), reactor=reactor)
    control = Control(postgres)

    def begin() -> None:
        stdio.StandardIO(control)
        starting = postgres.start()
        starting.addCallback(lambda _: control.say(f"{postgres.pid} {postgres.dsn}"))
        starting.addErrback(lambda failure: control.say(f"0 {failure.getErrorMessage()}"))

    reactor.callWhenRunning(begin)  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(sys.argv[1])
