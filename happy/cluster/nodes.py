"""Which nodes are alive, by the beats that each of them says four times a second.

A node hears its own beats too. When it does not, it is the one that is cut off, and takes nobody for dead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from happy.cluster.wire import Beat

BEAT_SECONDS: Final = 0.25
SUSPECT_SECONDS: Final = 0.6
"""Silence after which it is asked whether a node is still connected."""
DEAD_SECONDS: Final = 5.0
"""Silence after which a node is dead even if it seems connected: frozen, or unplugged."""
LATE_SECONDS: Final = 0.75
"""Without one's own beats for so long, nobody else is heard in time either."""
DEAF_SECONDS: Final = 3.0
"""Without one's own beats for so long, or oneself standing still, the connection is worth nothing."""


class NodesOwner(Protocol):
    """Whom a change among the nodes concerns."""

    def suspect(self, node: str) -> None:
        """Ask whether a node is still connected; if not, call :meth:`Nodes.lost`."""

    def appeared(self, node: str, *, again: bool) -> None:
        """A node is alive; ``again`` if it was taken for dead before."""

    def returned(self, node: str) -> None:
        """A node's way to the others broke, and is there again: it may not have heard what was said to it."""

    def died(self, node: str, *, silent: bool) -> None:
        """A node is dead, or said so itself; ``silent`` if it may have committed what nobody heard of."""

    def deaf(self) -> None:
        """What others say does not come through, or was not listened to: connect anew."""


class Known(Struct):
    """A node: when it was heard last, and what it said of itself."""

    heard: float
    said: Beat


class Nodes:
    """The nodes that ``me`` hears of; ``seconds`` is a clock that never goes back."""

    def __init__(self, me: str, owner: NodesOwner, seconds: Callable[[], float]) -> None:
        self.me = me
        self.known: dict[str, Known] = {}
        self._dead: dict[str, None] = {}
        self._owner = owner
        self._seconds = seconds
        self._ticked = self._heard_myself = seconds()
        self.connected = False

    @property
    def late(self) -> bool:
        """Whether what others say comes late, or not at all."""
        return self.connected and self._seconds() - self._heard_myself >= LATE_SECONDS

    def heard(self, beat: Beat) -> None:
        """Somebody says that it lives."""
        now = self._seconds()
        if beat.node == self.me:
            self._heard_myself = now
            return
        known = self.known.get(beat.node)
        if known is not None:
            former, known.heard, known.said = known.said.era, now, beat
            if beat.era > former > 0:
                self._owner.returned(beat.node)
            return
        self.known[beat.node] = Known(now, beat)
        again = beat.node in self._dead
        self._dead.pop(beat.node, None)
        self._owner.appeared(beat.node, again=again)

    def left(self, node: str) -> None:
        """A node says that it leaves."""
        if self.known.pop(node, None) is not None:
            self._owner.died(node, silent=False)

    def lost(self, node: str) -> None:
        """A node that was silent is not connected either."""
        known = self.known.get(node)
        if known is not None and self._seconds() - known.heard >= SUSPECT_SECONDS:
            self._die(node)

    def back(self) -> None:
        """The connection is there, for the first time or again: all silence begins now."""
        self.connected = True
        self._begin_anew()

    def gone(self) -> None:
        """The connection is lost: silence means nothing."""
        self.connected = False

    def tick(self) -> None:
        """Look who is silent; to be called with every own beat."""
        now = self._seconds()
        stood_still, self._ticked = now - self._ticked >= DEAF_SECONDS, now
        if stood_still or (self.connected and now - self._heard_myself >= DEAF_SECONDS):
            self._begin_anew()
            self._owner.deaf()
            return
        if not self.connected:
            return
        for node, known in list(self.known.items()):
            silence = now - known.heard
            if silence >= DEAD_SECONDS:
                self._die(node)
            elif silence >= SUSPECT_SECONDS:
                self._owner.suspect(node)

    def _begin_anew(self) -> None:
        self._ticked = self._heard_myself = now = self._seconds()
        for known in self.known.values():
            known.heard = now

    def _die(self, node: str) -> None:
        del self.known[node]
        self._dead[node] = None
        while len(self._dead) > 1_000:
            del self._dead[next(iter(self._dead))]
        self._owner.died(node, silent=True)
