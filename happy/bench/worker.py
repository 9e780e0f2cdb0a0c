"""A worker process: reads its job and commands as JSON lines, and answers in JSON lines.

Commands are ``{"go": time}``, ``{"enough": true}`` and ``{"verify": true}``; the end of the input ends the
worker.
"""

from __future__ import annotations

import gc
import os
import resource
from typing import Any

import msgspec

from happy.bench.accounts import Unusable
from happy.bench.bench import Bench
from happy.bench.http import Disconnected, Malformed
from happy.bench.links import Refused
from happy.bench.load import Job
from happy.bench.loop import Loop, Promise, now
from happy.bench.scenarios import SCENARIOS
from happy.bench.streams import Unreachable, find_all

_PLAIN = (Unusable, Unreachable)
_OF_THE_SERVER = (Refused, Disconnected, Malformed, TimeoutError)


class Orders:
    """The coordinator's commands, as promises."""

    def __init__(self, descriptor: int, enough: Promise[bool]) -> None:
        self.go: Promise[float] = Promise()
        self.enough = enough
        self.verify: Promise[bool] = Promise()
        self._descriptor = descriptor
        self._rest = b""

    def readable(self) -> None:
        """Read what came."""
        data = os.read(self._descriptor, 65536)
        if not data:
            # The coordinator is gone: nobody would read the results.
            os._exit(1)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            for name, value in msgspec.json.decode(line).items():
                getattr(self, name).keep(value)

    def writable(self) -> None:
        """Never asked for."""


def say(fact: dict[str, Any]) -> None:
    """Write one line to the coordinator."""
    data = msgspec.json.encode(fact) + b"\n"
    while data:
        data = data[os.write(1, data) :]


class Worker:
    """Takes one scenario through its phases."""

    def __init__(self, loop: Loop, orders: Orders, bench: Bench) -> None:
        self._loop = loop
        self._orders = orders
        self._bench = bench
        self._running = True

    async def work(self) -> None:
        """All of it."""
        scenario = SCENARIOS[self._bench.load.scenario](self._bench)
        await scenario.prepare()
        # What is there now stays: the collector need not look at it during the run.
        gc.collect()
        gc.freeze()
        self._bench.recorder.flush()
        say({"ready": True})
        begin = await self._orders.go
        await self._loop.sleep(begin - now())
        self._loop.at(begin + 1, lambda: self._tick(begin, 0))
        before = _cpu_seconds()
        await scenario.run(begin)
        self._running = False
        used = _cpu_seconds() - before
        say({"second": int(now() - begin), **self._bench.recorder.flush()})
        say({"finished": now() - begin, "cpu": used})
        await self._orders.verify
        await scenario.verify()
        say(
            {
                "result": self._bench.verdict.dump(),
                "figures": self._bench.figures,
                "late": self._bench.recorder.flush(),
            }
        )

    def _tick(self, begin: float, second: int) -> None:
        if not self._running:
            return
        say({"second": second, **self._bench.recorder.flush()})
        self._loop.at(begin + second + 2, lambda: self._tick(begin, second + 1))


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _first_line() -> bytes:
    """The first line of the input, and not a byte more."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise SystemExit(1)
        line += byte
    return line


def main() -> None:
    """Do the job that the first line of the input describes."""
    job = msgspec.json.decode(_first_line(), type=Job)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = Loop()
    try:
        bench = Bench(loop, find_all(job.url), job, say)
        orders = Orders(0, bench.enough)
        loop.watch(0, orders)
        loop.run(Worker(loop, orders, bench).work())
    except _PLAIN as error:
        _fail(str(error))
    except _OF_THE_SERVER as error:
        _fail(f"{job.url}: {error}")


def _fail(reason: str) -> None:
    say({"failed": reason})
    raise SystemExit(1) from None


if __name__ == "__main__":
    main()
