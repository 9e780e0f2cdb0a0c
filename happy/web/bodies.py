"""Bodies of requests while they are in the house: counted by owner, and large ones in a file."""

from __future__ import annotations

import os
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Final, NamedTuple

from twisted.internet.defer import Deferred

from happy.base.errors import Overloaded

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.base.bounds import Budget, Holding, Payer

SPOOL_SIZE: Final = 100 * 1024
"""Bodies above it wait in a temporary file."""

CONNECTION_BYTES: Final = 8192
"""What a connection takes with a request, whose body counts only if it is larger than :data:`SMALL`."""

SMALL: Final = 4096

PATIENCE: Final = 30.0
"""Seconds that a large body may wait to be worked on."""


Elsewhere = Callable[[str, Callable[[], None]], object]
"""Makes a call for an owner that may take long."""


def _here(owner: str, call: Callable[[], None]) -> None:
    call()


class Keep:
    """What one connection takes: memory and disk that ``owner`` pays for, itself included.

    ``payer`` gives everything up when somebody else needs it; ``elsewhere`` is where files end.
    """

    __slots__ = ("_ended", "_memory", "_working", "disk", "elsewhere", "owner", "payer")

    def __init__(
        self, memory: Budget, disk: Budget, owner: str, payer: Payer, elsewhere: Elsewhere = _here
    ) -> None:
        self.elsewhere = elsewhere
        self.owner = owner
        self.disk = disk
        self.payer: Payer | None = payer
        self._memory = memory.open(owner, payer)
        self._working = 0
        self._ended = False

    def take(self, size: int) -> bool:
        """Take some memory; False, and nothing taken, when there is none for this owner."""
        return self._memory.take(size)

    def give_back(self, size: int) -> None:
        """Give memory back."""
        self._memory.give_back(size)

    def charge(self, owner: str) -> bool:
        """Let another owner pay from now on; False when that is beyond its share."""
        if owner != self.owner:
            if not self._memory.move(owner):
                return False
            self.owner = owner
        return True

    def begin(self) -> None:
        """A request is under way; until :meth:`done` what it takes is not given back."""
        self._working += 1

    def done(self) -> None:
        """It is answered, or need not be any more."""
        self._working -= 1
        self._close_if_idle()

    def end(self) -> None:
        """The connection is gone."""
        self._ended = True
        self.payer = None
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._ended and not self._working:
            self._memory.close()


class SmallBody(BytesIO):
    """A body in memory."""

    def __init__(self, keep: Keep) -> None:
        super().__init__()
        self._keep = keep
        self._size = 0
        self._held = 0

    def hold(self, size: int) -> bool:
        """Whether there is room for ``size`` more bytes, which then count until the body is closed."""
        self._size += size
        more = self._size - self._held
        if self._size <= SMALL:
            return True
        if not self._keep.take(more):
            return False
        self._held += more
        return True

    def charge(self, owner: str) -> bool:
        """Let another owner pay; False when that is beyond its share."""
        return self._keep.charge(owner)

    def close(self) -> None:
        """Forget the body. May be called again."""
        held, self._held = self._held, 0
        self._keep.give_back(held)
        super().close()


class LargeBody(SpooledTemporaryFile[bytes]):
    """A body of unknown or large size, in a file as soon as it is large."""

    def __init__(self, keep: Keep) -> None:
        super().__init__(SPOOL_SIZE)
        self._keep = keep
        self._held = 0
        self._on_disk: Holding | None = None

    def hold(self, size: int) -> bool:
        """As :meth:`SmallBody.hold`; what goes into a file counts as disk."""
        if self._on_disk is not None:
            return self._on_disk.take(size)
        if self._held + size <= SPOOL_SIZE:
            if not self._keep.take(size):
                return False
            self._held += size
            return True
        if self._keep.payer is None:
            return False
        self._on_disk = self._keep.disk.open(self._keep.owner, self._keep.payer)
        return self._on_disk.take(self._held + size) and self._leave_memory()

    def _leave_memory(self) -> bool:
        held, self._held = self._held, 0
        self._keep.give_back(held)
        return True

    def charge(self, owner: str) -> bool:
        """As :meth:`SmallBody.charge`."""
        return self._keep.charge(owner) and (self._on_disk is None or self._on_disk.move(owner))

    def close(self) -> None:
        """Forget the body. May be called again."""
        self._leave_memory()
        if self._on_disk is not None:
            self._on_disk.close()
        if not self.closed and self.name is not None:
            self._end_elsewhere()
        super().close()

    def _end_elsewhere(self) -> None:
        """Let the last one who has the file be another: to throw it away takes a disk its time."""
        with suppress(OSError):
            self._keep.elsewhere(self._keep.owner, partial(os.close, os.dup(self.fileno())))


class DecodingRoom(NamedTuple):
    """What an owner has of :class:`LargeWork`, in bytes."""

    owner: str
    size: int


class LargeWork:
    """Room in memory for what large bodies are decoded to: so many bytes at a time.

    What waits lies on disk. Owners come in turn, so that who sends many waits for itself, and has no more
    than half of the room, unless a single body takes more.
    """

    def __init__(self, size: int, clock: IReactorTime) -> None:
        self._size = size
        self._left = size
        self._clock = clock
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[_Turn]] = OrderedDict()

    async def enter(self, owner: str, size: int) -> DecodingRoom:
        """Wait for room, to be given back by :meth:`leave`. Raises Overloaded when that takes too long.

        What is larger than all the room gets that for itself. A wait may be cancelled.
        """
        turn = _Turn(DecodingRoom(owner, size), Deferred(lambda _: self._cancelled(turn)))
        self._waiting.setdefault(owner, deque()).append(turn)
        self._serve()
        if turn.come.called:
            return turn.room
        timer = self._clock.callLater(PATIENCE, self._refuse, turn)
        try:
            await turn.come
        finally:
            if timer.active():
                timer.cancel()
        return turn.room

    def leave(self, room: DecodingRoom) -> None:
        """Give room back."""
        self._left += room.size
        self._held[room.owner] -= room.size
        if not self._held[room.owner]:
            del self._held[room.owner]
        self._serve_later()

    def _serve_later(self) -> None:
        # Who gives room back has had time in this turn of the reactor, and who gets it takes some at once.
        if self._waiting:
            self._clock.callLater(0, self._serve)

    def _serve(self) -> None:
        """Give room to the one whose turn it is, if there is enough; to the next one later."""
        turn = self._following()
        if turn is None:
            return
        owner, size = turn.room
        self._left -= size
        self._held[owner] += size
        self._remove(turn)
        if owner in self._waiting:
            self._waiting.move_to_end(owner)
        self._serve_later()
        turn.come.callback(None)

    def _following(self) -> _Turn | None:
        """Whose turn it is, if there is room."""
        for turns in self._waiting.values():
            owner, size = turns[0].room
            if not self._held[owner] or self._held[owner] + size <= self._size // 2:
                return turns[0] if size <= self._left or self._left == self._size else None
        return None

    def _cancelled(self, turn: _Turn) -> None:
        self._remove(turn)
        self._serve_later()

    def _refuse(self, turn: _Turn) -> None:
        self._remove(turn)
        turn.come.errback(Overloaded())
        self._serve()

    def _remove(self, turn: _Turn) -> None:
        owner = turn.room.owner
        self._waiting[owner].remove(turn)
        if not self._waiting[owner]:
            del self._waiting[owner]


class _Turn(NamedTuple):
    """Somebody who waits for room."""

    room: DecodingRoom
    come: Deferred[None]
