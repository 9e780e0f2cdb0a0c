"""A bus in memory, whose engine loses, delays, stands still and falls apart as a test wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock

from happy.cluster.bus import BusLost, BusOwner
from happy.cluster.redis_bus import MOST_UNANSWERED


class MemoryEngine:
    """What the buses of one test are connected to.

    ``drops(sender, receiver, channel, payload)`` tells what is lost on its way, ``delay`` is how many
    seconds every message takes, ``reconnecting`` how many a bus needs to come back. While it is ``away`` no
    bus is up; while it is frozen all are, and nothing goes through until it is thawed. A bus that has said
    more than 32 MB without an answer is ``cut``, as one of Redis is.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.buses: list[MemoryBus] = []
        self.drops: Callable[[MemoryBus, MemoryBus, str, bytes], bool] = lambda *message: False
        self.delay = 0.0
        self.reconnecting = 0.1
        self.away = False
        self.sent = self.cuts = 0
        self._sides: dict[MemoryBus, int] = {}
        self._frozen: list[Callable[[], None]] | None = None

    def leave(self) -> None:
        """Be gone, and with it every connection."""
        self.away = True
        for bus in list(self.buses):
            bus.cut()

    def come_back(self) -> None:
        """Be there again; the buses find out by themselves."""
        self.away = False

    def freeze(self) -> None:
        """Take everything, and answer nothing."""
        self._frozen = []

    def thaw(self) -> None:
        """Do what was asked meanwhile, in its order."""
        waiting, self._frozen = self._frozen or [], None
        for act in waiting:
            act()

    def split(self, *sides: Iterable[MemoryBus]) -> None:
        """Let only those hear each other that are on one side; ``split()`` heals."""
        self._sides = {bus: number for number, side in enumerate(sides) for bus in side}

    def listening(self, sender: MemoryBus, channel: str) -> list[MemoryBus]:
        """Who hears what ``sender`` says."""
        side = self._sides.get(sender)
        return [bus for bus in self.buses if channel in bus.subscribed and self._sides.get(bus) == side]

    def soon(self, act: Callable[..., Any], *arguments: Any) -> None:
        """Act after the usual delay, or when thawed."""
        if self._frozen is not None:
            self._frozen.append(lambda: self.soon(act, *arguments))
        else:
            self.clock.callLater(self.delay, act, *arguments)


class MemoryBus:
    """One node's way into a :class:`MemoryEngine`."""

    largest = 256 * 1024

    def __init__(self, engine: MemoryEngine) -> None:
        self.subscribed: set[str] = set()
        self._wanted: dict[str, None] = {}
        self._engine = engine
        self._owner: BusOwner | None = None
        self._session = 0
        self._up = False
        self._asked: dict[Deferred[Any], int] = {}
        self._unanswered = 0
        self._again: IDelayedCall | None = None

    @property
    def up(self) -> bool:
        return self._up

    def start(self, owner: BusOwner) -> Deferred[None]:
        self._owner = owner
        self._engine.buses.append(self)
        self._connect(self._session)
        return succeed(None)

    def stop(self) -> Deferred[None]:
        self._owner = None
        self._engine.buses.remove(self)
        self._break()
        if self._again is not None and self._again.active():
            self._again.cancel()
        return succeed(None)

    def publish(self, channel: str, payload: bytes) -> Deferred[int | None]:
        if self._up and self._unanswered + len(payload) > MOST_UNANSWERED:
            self._engine.cuts += 1
            self._engine.clock.callLater(0, self.cut)
            return fail(BusLost())
        return self._ask(self._publish, channel, payload)

    def say(
        self, channel: str, payload: bytes, out: Callable[[int | None], object], lost: Callable[[], object]
    ) -> None:
        self.publish(channel, payload).addCallbacks(out, lambda failure: lost())

    def subscribers(self, channel: str) -> Deferred[int | None]:
        return self._ask(lambda channel: len(self._engine.listening(self, channel)), channel)

    def subscribe(self, channels: Iterable[str]) -> None:
        for channel in channels:
            self._wanted[channel] = None
            if self._up:
                self._engine.soon(self._confirm, self._session, channel)

    def unsubscribe(self, channels: Iterable[str]) -> None:
        for channel in channels:
            self._wanted.pop(channel, None)
            self.subscribed.discard(channel)

    def cut(self) -> None:
        self._break()
        self._connect_later()

    def _break(self) -> None:
        self._session += 1
        was_up, self._up = self._up, False
        self.subscribed.clear()
        if was_up and self._owner:
            self._owner.lost()
        asked, self._asked, self._unanswered = self._asked, {}, 0
        for answer in asked:
            answer.errback(BusLost())

    def _connect_later(self) -> None:
        self._again = self._engine.clock.callLater(self._engine.reconnecting, self._connect, self._session)

    def _connect(self, session: int) -> None:
        if self._owner is None or session != self._session:
            return
        if self._engine.away:
            self._connect_later()
            return
        self._up = True
        for channel in list(self._wanted):
            self._confirm(session, channel)
        self._owner.back()

    def _confirm(self, session: int, channel: str) -> None:
        if self._owner is not None and session == self._session and channel in self._wanted:
            self.subscribed.add(channel)
            self._owner.confirmed(channel)

    def _ask(self, act: Callable[..., int], *arguments: Any) -> Deferred[int | None]:
        if not self._up:
            return fail(BusLost())
        answer: Deferred[int | None] = Deferred()
        self._asked[answer] = size = sum(map(len, arguments))
        self._unanswered += size
        self._engine.soon(self._answer, answer, act, *arguments)
        return answer

    def _answer(self, answer: Deferred[int | None], act: Callable[..., int], *arguments: Any) -> None:
        if answer in self._asked:
            found = act(*arguments)
            self._unanswered -= self._asked.pop(answer, 0)
            answer.callback(found)

    def _publish(self, channel: str, payload: bytes) -> int:
        engine = self._engine
        engine.sent += 1
        hearing = engine.listening(self, channel)
        for bus in hearing:
            if not engine.drops(self, bus, channel, payload):
                engine.clock.callLater(0, bus._hear, bus._session, channel, payload)
        return len(hearing)

    def _hear(self, session: int, channel: str, payload: bytes) -> None:
        if self._owner is not None and session == self._session and channel in self.subscribed:
            self._owner.heard(channel, payload)
