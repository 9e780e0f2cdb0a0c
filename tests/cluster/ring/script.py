"""What every program about nodes does: start them, say what came of it, and end as it should."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

from twisted.internet.defer import Deferred, gatherResults

from tests.cluster.redis_server import RedisServer
from tests.cluster.ring.faults import NodeProcess
from tests.harness import stop_cluster

Report = dict[str, Any]


@asynccontextmanager
async def started(
    reactor: Any,
    names: Iterable[str],
    dsn: str,
    redis: RedisServer | None,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[list[NodeProcess]]:
    """Nodes of these names, each in a folder of its own; all are stopped in the end."""
    with tempfile.TemporaryDirectory(prefix="happy-ring-") as folder:
        nodes = []
        for name in names:
            own = Path(folder) / name
            own.mkdir()
            nodes.append(NodeProcess(reactor, own, name, dsn, redis, settings))
        try:
            await gatherResults([Deferred.fromCoroutine(node.start()) for node in nodes])
            yield nodes
        finally:
            for node in nodes:
                await node.served.stop()
                await node.way.stop()


def as_json(report: Report) -> str:
    """All of it."""
    return json.dumps(report, indent=1) + "\n"


def play(
    run: Coroutine[Any, Any, Report],
    kept: Path | None,
    wrong: Callable[[Report], object],
    shown: Callable[[Report], str] = as_json,
) -> NoReturn:
    """Do a run; its report is shown, and kept in a file as JSON. The exit status is 1 if it is ``wrong``."""
    from twisted.internet import reactor

    status = 1

    def ended(report: Report) -> None:
        nonlocal status
        status = int(bool(wrong(report)))
        sys.stdout.write(shown(report))
        if kept is not None:
            kept.write_text(as_json(report))

    running = Deferred.fromCoroutine(run)
    running.addCallback(ended).addErrback(lambda failure: failure.printTraceback(sys.stderr))
    running.addBoth(lambda _: reactor.stop())  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]
    stop_cluster()
    raise SystemExit(status)
