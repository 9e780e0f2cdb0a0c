"""An event loop of one thread: sockets by epoll, timers, and coroutines for what is not hot.

Hot paths are plain callbacks; preparation and verification are coroutines that await a :class:`Promise`.
"""

from __future__ import annotations

import heapq
import select
from collections.abc import Callable, Coroutine, Generator, Iterable
from itertools import count
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")
now = perf_counter

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
_READABLE = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
_MOST_EVENTS = 1024


class Promise(Generic[T]):
    """A result that comes later, for one or more coroutines to await."""

    __slots__ = ("_error", "_value", "_waiting", "done")

    def __init__(self) -> None:
        self.done = False
        self._value: T | None = None
        self._error: BaseException | None = None
        self._waiting: list[Callable[[], None]] = []

    def keep(self, value: T) -> None:
        """Come true. Does nothing if it is settled already."""
        self._settle(value, None)

    def fail(self, error: BaseException) -> None:
        """Raise ``error`` in whoever awaits. Does nothing if it is settled already."""
        self._settle(None, error)

    def _settle(self, value: T | None, error: BaseException | None) -> None:
        if self.done:
            return
        self.done, self._value, self._error = True, value, error
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()

    def when_done(self, callback: Callable[[], None]) -> None:
        """Call back once it is settled; at once if it is."""
        if self.done:
            callback()
        else:
            self._waiting.append(callback)

    def result(self) -> T:
        """The value, or raise the error, of a settled promise."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def __await__(self) -> Generator[Promise[T], None, T]:
        if not self.done:
            yield self
        return self.result()


def start(coroutine: Coroutine[Any, Any, T]) -> Promise[T]:
    """Run a coroutine up to its first wait; the promise has its result."""
    result: Promise[T] = Promise()

    def step() -> None:
        try:
            awaited = coroutine.send(None)
            while awaited.done:
                awaited = coroutine.send(None)
        except StopIteration as stop:
            result.keep(stop.value)
        except Exception as error:
            result.fail(error)
        else:
            awaited.when_done(step)

    step()
    return result


async def gather(coroutines: Iterable[Coroutine[Any, Any, T]], at_once: int) -> list[T]:
    """The results of all coroutines, at most ``at_once`` of them running.

    Raises what one of them raised.
    """
    source = enumerate(coroutines)
    results: dict[int, T] = {}

    async def work() -> None:
        for number, coroutine in source:
            results[number] = await start(coroutine)

    workers = [start(work()) for _ in range(at_once)]
    for worker in workers:
        await worker
    return [results[number] for number in sorted(results)]


class Handler(Protocol):
    """What the loop tells about a socket."""

    def readable(self) -> None:
        """There is something to read, or the end."""

    def writable(self) -> None:
        """There is room to write, or the connection is made."""


class Timer:
    """A call that is due at ``time``; ``cancelled`` ones are skipped."""

    __slots__ = ("call", "cancelled")

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.cancelled = False


class Loop:
    """Runs until it is told to stop. Times are those of :data:`now`, in seconds."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = count()
        self._failed: Promise[None] = Promise()

    def watch(self, descriptor: int, handler: Handler, events: int = READ) -> None:
        """Tell ``handler`` about a socket from now on."""
        self._handlers[descriptor] = handler
        self._epoll.register(descriptor, events)

    def change(self, descriptor: int, events: int) -> None:
        """Watch for other events."""
        self._epoll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Watch a socket no longer."""
        if self._handlers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def at(self, time: float, call: Callable[[], None]) -> Timer:
        """Call once that time has come."""
        timer = Timer(call)
        heapq.heappush(self._timers, (time, next(self._numbers), timer))
        return timer

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call after that many seconds."""
        return self.at(now() + seconds, call)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        awake: Promise[None] = Promise()
        self.later(seconds, lambda: awake.keep(None))
        await awake

    async def within(self, seconds: float, promise: Promise[T]) -> T:
        """The promise's result. Raises TimeoutError when it takes longer."""
        either: Promise[T] = Promise()

        def arrived() -> None:
            try:
                either.keep(promise.result())
            except Exception as error:
                either.fail(error)

        timer = self.later(seconds, lambda: either.fail(TimeoutError(f"no answer within {seconds:g} s")))
        promise.when_done(arrived)
        try:
            return await either
        finally:
            timer.cancelled = True

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine that nobody awaits; what it raises ends the loop."""
        promise = start(coroutine)

        def check() -> None:
            try:
                promise.result()
            except Exception as error:
                self._failed.fail(error)

        promise.when_done(check)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until ``main`` is through; returns or raises what it does."""
        promise = start(main)
        while not (promise.done or self._failed.done):
            self._turn(self._wait())
        if self._failed.done:
            self._failed.result()
        return promise.result()

    def _wait(self) -> float:
        """How long nothing is due."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - now()) if self._timers else -1

    def _turn(self, timeout: float) -> None:
        handlers = self._handlers
        for descriptor, events in self._epoll.poll(timeout, _MOST_EVENTS):
            handler = handlers.get(descriptor)
            if handler is None:
                continue
            if events & WRITE:
                handler.writable()
            # What it just did may have closed it.
            if events & _READABLE and handlers.get(descriptor) is handler:
                handler.readable()
        if self._timers:
            self._fire()

    def _fire(self) -> None:
        timers, time = self._timers, now()
        while timers and timers[0][0] <= time:
            timer = heapq.heappop(timers)[2]
            if not timer.cancelled:
                timer.call()

    def close(self) -> None:
        """Let go of the epoll descriptor."""
        self._epoll.close()
