"""Which channels are wanted, and what has to be said so that they are heard."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

CHUNK: Final = 500
"""Channels that are spoken of at a time; the next ones follow when these are confirmed."""

Say = Callable[[Literal["SUBSCRIBE", "UNSUBSCRIBE"], list[str]], None]


class Subscriptions:
    """What was asked for while a connection lasts, and again after the next one is made.

    ``say`` tells the other side, which confirms each channel once for each time that it was named.
    ``confirmed`` is told of each channel that is heard from now on, and ``complete`` when all are that were
    wanted at the beginning of the connection. A channel is never under way twice, so that a confirmation
    leaves no doubt which wish it answers.
    """

    def __init__(
        self,
        clock: IReactorTime,
        say: Say,
        confirmed: Callable[[str], None],
        complete: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._say = say
        self._tell = confirmed
        self._complete = complete
        self._wanted: dict[str, None] = {}
        self._told: set[str] = set()
        """What the other side listens to once it has done what it was told."""
        self._changed: dict[str, None] = {}
        self._under_way: set[str] = set()
        self._first: set[str] | None = None
        self._timer: IDelayedCall | None = None
        self._open = False

    def add(self, channels: Iterable[str]) -> None:
        """Listen to these."""
        for channel in channels:
            self._wanted[channel] = None
            self._change(channel)

    def remove(self, channels: Iterable[str]) -> None:
        """Listen to them no longer."""
        for channel in channels:
            self._wanted.pop(channel, None)
            self._change(channel)

    def begin(self) -> None:
        """There is a connection, on which nothing was said yet."""
        self._open = True
        self._told.clear()
        self._under_way.clear()
        self._changed = dict(self._wanted)
        self._first = set(self._wanted)
        self._soon()

    def end(self) -> None:
        """The connection is gone."""
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def confirm(self, channel: str) -> None:
        """The other side has done what it was told about a channel."""
        self._under_way.discard(channel)
        if channel in self._told and channel not in self._changed:
            self._heard_now(channel)
        if not self._under_way:
            self._go_on()

    def _change(self, channel: str) -> None:
        """Speak of it, if there is a connection; the next one begins with all that is wanted then."""
        if self._open:
            self._changed[channel] = None
            self._soon()

    def _soon(self) -> None:
        """In a moment, with what is asked for meanwhile."""
        if self._open and not self._under_way and self._timer is None:
            self._timer = self._clock.callLater(0, self._say_next)

    def _say_next(self) -> None:
        self._timer = None
        self._go_on()

    def _go_on(self) -> None:
        chunk = list(islice(self._changed, CHUNK))
        added = [channel for channel in chunk if channel in self._wanted and channel not in self._told]
        removed = [channel for channel in chunk if channel in self._told and channel not in self._wanted]
        kept = [channel for channel in chunk if channel in self._told and channel in self._wanted]
        for channel in chunk:
            del self._changed[channel]
        self._told.update(added)
        self._told.difference_update(removed)
        self._under_way.update(added, removed)
        if added:
            self._say("SUBSCRIBE", added)
        if removed:
            self._say("UNSUBSCRIBE", removed)
        for channel in kept:
            self._heard_now(channel)
        if self._first is not None and not (self._first & self._wanted.keys()):
            self._first = None
            self._complete()
        if self._changed:
            self._soon()

    def _heard_now(self, channel: str) -> None:
        if self._first is not None:
            self._first.discard(channel)
        self._tell(channel)
