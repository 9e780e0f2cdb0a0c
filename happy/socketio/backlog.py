"""What waits for a client that takes less than it is sent (D-21).

A transport that is full takes nothing more from us until it is empty, so that what waits stays here: counted,
and shared between connections. A client may be as slow as it likes, as long as it takes something now and
then; one that takes nothing for long is dropped, and so is one for which there is no room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from happy.base.untaken import unsent, untaken

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from happy.base.bounds import Holding

FRAME_BYTES: Final = 64
"""What frames that wait cost beside their length."""

PORTION: Final = 256 * 1024
"""Bytes that are written at a time: a transport copies what the system does not take."""

MOST_AT_ONCE: Final = 2 * 1024 * 1024
"""Bytes that are written before others have their turn, even if the system takes all of them."""

LOOKS: Final = 4
"""How often in the time that a client may take nothing it is looked at whether it has taken something."""


class Backlog:
    """The frames that wait for one client, from when its transport became full until it is empty.

    ``stalled`` is called when the client has taken nothing for ``seconds``. ``size`` is what waits, with what
    the transport has and what it costs to keep.
    """

    __slots__ = (
        "_clock",
        "_frames",
        "_holding",
        "_idle",
        "_left",
        "_looked",
        "_moved",
        "_seconds",
        "_stalled",
        "_stuck",
        "_timer",
        "_transport",
        "paused",
        "size",
    )

    def __init__(
        self,
        transport: Any,
        holding: Holding,
        clock: IReactorTime,
        seconds: float,
        stalled: Callable[[], None],
    ) -> None:
        self.size = 0
        self.paused = True
        self._transport = transport
        self._holding = holding
        self._clock = clock
        self._stalled: Callable[[], None] | None = stalled
        self._seconds = seconds
        self._frames: deque[bytes | memoryview] = deque()
        self._stuck = 0
        self._moved = False
        self._idle = 0.0
        self._looked = clock.seconds()
        self._left = untaken(transport)
        self._timer: IDelayedCall | None = clock.callLater(seconds / LOOKS, self._look)

    def stick(self) -> bool:
        """The transport is full; False if there is no room for what it has."""
        self.paused = True
        former, self._stuck = self._stuck, unsent(self._transport)
        return self._count(self._stuck - former)

    def put(self, frames: bytes) -> bool:
        """Keep more frames; False if there is no room for them."""
        if not self._count(len(frames) + FRAME_BYTES):
            return False
        self._frames.append(frames)
        return True

    def take(self) -> bytes | None:
        """The next frames to write, or a portion of them, if there are any."""
        if not self._frames:
            return None
        frames = self._frames.popleft()
        if len(frames) > PORTION:
            # What is left is not copied: many clients may have the same frames waiting.
            frames, rest = frames[:PORTION], memoryview(frames)[PORTION:]
            self._frames.appendleft(rest)
            self._count(-len(frames))
        else:
            self._count(-len(frames) - FRAME_BYTES)
        return bytes(frames)

    def write_some(self, write: Callable[[bytes], object]) -> bool:
        """Write until the transport is full; True if that took long, and :meth:`go_on` is due in a while."""
        left = MOST_AT_ONCE
        while not self.paused and (frames := self.take()) is not None:
            write(frames)
            left -= len(frames)
            if left <= 0 and self._frames and not self.paused:
                self.paused = True
                return True
        return False

    def go_on(self) -> bool:
        """Whether there may be more written, after a pause that :meth:`write_some` made."""
        if not self._stuck:
            self.paused = False
        return not self.paused

    def unstick(self) -> None:
        """The transport is empty."""
        self.paused = False
        self._moved = True
        self._count(-self._stuck)
        self._stuck = 0

    def close(self) -> None:
        """Forget everything."""
        self._frames.clear()
        self._count(-self.size)
        self._stalled = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Whether the client has taken anything since the last time, from us or from the system."""
        stuck = unsent(self._transport)
        if stuck < self._stuck:
            self._moved = True
            self._count(stuck - self._stuck)
            self._stuck = stuck
        now, usual = self._clock.seconds(), self._seconds / LOOKS
        # When we come late we stood still ourselves: that time is not the client's.
        self._idle += min(now - self._looked, 2 * usual)
        self._looked = now
        left, self._left = self._left, untaken(self._transport)
        if self._moved or left != self._left:
            self._moved, self._idle = False, 0.0
        if self._idle < self._seconds:
            self._timer = self._clock.callLater(min(self._seconds - self._idle, usual), self._look)
            return
        self._timer = None
        if self._stalled is not None:
            self._stalled()

    def _count(self, more: int) -> bool:
        if more <= 0:
            self._holding.give_back(-more)
        elif not self._holding.take(more):
            return False
        self.size += more
        return True
