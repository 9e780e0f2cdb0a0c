"""What was told to clients lately, to be told again to those who missed it (realtime.md A.14, D-9).

One log an account, made by its first event. Every event carries an offset, which names the log and counts
within it; a log that is made anew, by this process or another, has another name. What is dropped raises the
number from which a log is complete: whoever has not heard everything before that cannot be caught up.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw, Struct

from happy.realtime.updates import Audience, Scope
from happy.socketio.socket import EncodedPacket, GatheredPacket, encode_event

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

KEPT_SECONDS: Final = 120.0
ACCOUNT_BYTES: Final = 1024 * 1024
TOTAL_BYTES: Final = 64 * 1024 * 1024
"""Bounds of an account's log, and of all: the oldest events go first."""

OVERHEAD: Final = 600
"""Bytes that an event costs beyond its text, so that the bounds bound their number too."""

SWEEP_SECONDS: Final = 5.0
_AT_ONCE: Final = 1_000
_LONGEST_NUMBER: Final = 15


Said = tuple[str, bytes]
"""An event as it is told: its name, and its argument as JSON."""

_EVENT: Final = b"42"
"""What an event's packet begins with."""

_events = msgspec.json.Decoder(tuple[str, Raw, str])


class _Entry(Struct, gc=False, eq=False):
    """An event; ``skip`` is the id of the socket that must not hear it, ``state`` what it supersedes."""

    number: int
    audience: Audience
    skip: str | None
    state: Hashable
    text: bytes
    size: int
    time: float


class _Log:
    """The events of an account, and who is gone but may come back for them: scope, subject, how many."""

    __slots__ = ("awaiting", "complete_since", "entries", "name", "number", "size", "states")

    def __init__(self, node: str) -> None:
        self.name = node + secrets.token_urlsafe(6)
        self.number = 0
        self.complete_since = 0
        self.size = 0
        self.entries: OrderedDict[int, _Entry] = OrderedDict()
        self.states: dict[Hashable, _Entry] = {}
        self.awaiting: dict[tuple[Scope, str], int] = {}

    def position(self, offset: str) -> int | None:
        """The number in an offset; None if this log never gave it."""
        name, _, digits = offset.rpartition("-")
        if name != self.name or not (digits.isascii() and digits.isdigit()) or len(digits) > _LONGEST_NUMBER:
            return None
        number = int(digits)
        return number if number <= self.number else None


class Replay:
    """The logs of every account."""

    def __init__(self, clock: IReactorTime, account_bytes: int = ACCOUNT_BYTES) -> None:
        """``account_bytes`` is what a log may hold, and so what a client may be sent at once."""
        self.size = 0
        """Bytes of all logs."""
        self.node = ""
        """What all offsets begin with: whose they are, where there are several nodes."""
        self._clock = clock
        self._account_bytes = account_bytes
        self._logs: dict[str, _Log] = {}
        self._entries: OrderedDict[_Entry, None] = OrderedDict()
        self._timer: IDelayedCall | None = None

    def position(self, account: str) -> int:
        """The number of the account's latest event."""
        log = self._logs.get(account)
        return 0 if log is None else log.number

    def record(
        self, audience: Audience, event: str, payload: bytes, skip: str | None, state: Hashable = None
    ) -> EncodedPacket:
        """Encode an event with its offset, and keep it.

        ``skip`` is the id of a socket that does not hear it. An event with a ``state`` makes the one before
        with the same state and audience superfluous.
        """
        log = self._log(audience.account)
        packet = encode_event(event, Raw(payload), f"{log.name}-{log.number + 1}")
        self._keep(log, audience, packet, skip, state)
        return packet

    def record_gathered(self, audience: Audience, packet: GatheredPacket, skip: str | None) -> None:
        """As :meth:`record`, of an event up to its offset."""
        log = self._log(audience.account)
        packet.finish(b',"%b-%d"]' % (log.name.encode(), log.number + 1))
        self._keep(log, audience, packet, skip, None)

    def _log(self, account: str) -> _Log:
        log = self._logs.get(account)
        if log is None:
            log = self._logs[account] = _Log(self.node)
        return log

    def _keep(
        self, log: _Log, audience: Audience, packet: EncodedPacket, skip: str | None, state: Hashable
    ) -> None:
        number = log.number = log.number + 1
        now = self._clock.seconds()
        size = len(packet.text) + OVERHEAD
        entry = _Entry(number, audience, skip, state, packet.text, size, now)
        if state is not None:
            self._supersede(log, entry)
        log.entries[number] = entry
        self._entries[entry] = None
        log.size += size
        self.size += size
        self._shorten(log, now)

    def heard(self, account: str, offset: str) -> int | None:
        """The number of the event at ``offset``; None if the account's log never gave it."""
        log = self._logs.get(account)
        return None if log is None else log.position(offset)

    def offset(self, account: str) -> str:
        """The offset of whoever has heard everything up to now. The account must have a log."""
        log = self._logs[account]
        return f"{log.name}-{log.number}"

    def missed(
        self, account: str, start: int, scope: Scope, subject: str, socket: str
    ) -> list[EncodedPacket] | None:
        """What a client is to hear of what came after the event numbered ``start``; None unless it is all.

        ``socket`` is the client's id.
        """
        log = self._logs.get(account)
        if log is None or start < log.complete_since:
            return None
        missed = []
        for number, entry in reversed(log.entries.items()):
            if number <= start:
                break
            if entry.skip != socket and entry.audience.reaches(scope, subject):
                missed.append(EncodedPacket(entry.text))
        return missed[::-1]

    def heard_lately(
        self, account: str, start: int, scope: Scope, subject: str, seconds: float
    ) -> list[EncodedPacket]:
        """What a client was told last that has heard everything up to the event numbered ``start``."""
        entries = self._logs[account].entries
        oldest = self._clock.seconds() - seconds
        heard = []
        for number, entry in reversed(entries.items()):
            if entry.time < oldest:
                break
            if number <= start and entry.audience.reaches(scope, subject):
                heard.append(EncodedPacket(entry.text))
        return heard

    def awaited(self, audience: Audience) -> bool:
        """Whether somebody of the audience is gone and may come back."""
        log = self._logs.get(audience.account)
        if log is None or not log.awaiting:
            return False
        rooms = ((Scope.USER, ""), (Scope.SESSION, audience.session), (Scope.MACHINE, audience.machine))
        return any(room in log.awaiting for room in rooms)

    def awaits_any(self, account: str) -> bool:
        """Whether anybody of the account is gone and may come back."""
        log = self._logs.get(account)
        return log is not None and bool(log.awaiting)

    def expect(self, account: str, scope: Scope, subject: str, *, anew: bool = False) -> bool:
        """Keep events for somebody who is gone, until :meth:`give_up`; False if there is no log.

        With ``anew`` one is begun.
        """
        log = self._logs.get(account)
        if log is None and anew:
            log = self._logs[account] = _Log(self.node)
        if log is None:
            return False
        log.awaiting[scope, subject] = log.awaiting.get((scope, subject), 0) + 1
        return True

    def give_up(self, account: str, scope: Scope, subject: str) -> None:
        """Undo one :meth:`expect`."""
        awaiting = self._logs[account].awaiting
        awaiting[scope, subject] -= 1
        if not awaiting[scope, subject]:
            del awaiting[scope, subject]

    def leave(self, account: str) -> None:
        """Nobody of the account is connected: its log goes unless somebody may come back."""
        log = self._logs.get(account)
        if log is None or log.awaiting:
            return
        for entry in log.entries.values():
            del self._entries[entry]
        self.size -= log.size
        del self._logs[account]

    def break_off(self, account: str | None = None) -> None:
        """Something was told that is not in an account's log, or in any: who is gone cannot be caught up."""
        for log in self._logs.values() if account is None else filter(None, [self._logs.get(account)]):
            log.number += 1
            log.complete_since = log.number

    def stop(self) -> None:
        """Let go of the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _supersede(self, log: _Log, entry: _Entry) -> None:
        former = log.states.get(entry.state)
        if former is not None and former.audience == entry.audience:
            self._remove(log, former)
        log.states[entry.state] = entry

    def _shorten(self, log: _Log, now: float) -> None:
        while log.size > self._account_bytes:
            self._drop(log, next(iter(log.entries.values())))
        while self.size > TOTAL_BYTES:
            self._drop_oldest()
        self._drop_old(now, 2)
        if self._timer is None:
            self._timer = self._clock.callLater(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Drop what is old also while nothing new comes; not too much of it in one turn."""
        self._timer = None
        more = self._drop_old(self._clock.seconds(), _AT_ONCE)
        if self._entries:
            self._timer = self._clock.callLater(0 if more else SWEEP_SECONDS, self._sweep)

    def _drop_old(self, now: float, most: int) -> bool:
        """Whether there were more than ``most``, which are left."""
        for _ in range(most):
            oldest = next(iter(self._entries), None)
            if oldest is None or now - oldest.time <= KEPT_SECONDS:
                return False
            self._drop_oldest()
        return True

    def _drop_oldest(self) -> None:
        oldest = next(iter(self._entries))
        self._drop(self._logs[oldest.audience.account], oldest)

    def _drop(self, log: _Log, oldest: _Entry) -> None:
        """Lose the oldest event of a log."""
        log.complete_since = max(log.complete_since, oldest.number)  # which it may have been broken off after
        self._remove(log, oldest)

    def _remove(self, log: _Log, entry: _Entry) -> None:
        del log.entries[entry.number]
        del self._entries[entry]
        log.size -= entry.size
        self.size -= entry.size
        if entry.state is not None:
            del log.states[entry.state]


def unpack(packets: Iterable[EncodedPacket]) -> list[Said]:
    """Events as a log has them, without their offsets."""
    read = [_events.decode(memoryview(packet.text)[len(_EVENT) :]) for packet in packets]
    return [(event, bytes(payload)) for event, payload, _ in read]


def pack(said: Sequence[Said], offset: str) -> list[EncodedPacket]:
    """Events to be sent at once. Only the last has the offset: without it, none of them counts as heard."""
    last = len(said) - 1
    return [
        encode_event(event, Raw(payload), *([offset] if place == last else []))
        for place, (event, payload) in enumerate(said)
    ]
