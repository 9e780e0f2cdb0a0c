"""What clients have not taken yet of their answers, connection by connection.

An answer is done with when it is written, but what the system does not take at once stays in the process.
Usually that is nothing. What there is belongs to whoever asked, who pays for it and is cut off when it is too
much, or when nothing of it is taken for a minute. Connections that something was written to are looked at
once a second, so that it costs the others nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

from happy.base.untaken import lowest, unsent, untaken

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from happy.base.bounds import Budget

STALL_SECONDS: Final = 60.0
"""A client that takes nothing for so long is gone."""

LOOK_SECONDS: Final = 1.0
AT_ONCE: Final = 1000
"""Connections that are looked at in one go."""

Reason = Literal["time", "crowd"]
"""Why a connection was cut: nothing was taken for long, or there was too much of it."""


class _Connection:
    """A connection with something left, of which nothing was taken for ``idle`` seconds.

    Time in which nobody looked, since the process stood still, is not the client's.
    """

    def __init__(self, transport: Any, memory: Budget, payer: str, now: float) -> None:
        self.transport = transport
        self.idle = 0.0
        self._looked = now
        self._left = -1
        self._holding = memory.open(payer, self)

    def look(self, now: float) -> Reason | None:
        """Pay for what is left, and tell why it cannot go on, if it cannot."""
        size = unsent(self.transport)
        left = size + untaken(self.transport)
        self.idle += min(now - self._looked, 2 * LOOK_SECONDS)
        self._looked = now
        if left != self._left:
            self._left, self.idle = left, 0.0
        more = size - self._holding.size
        if more > 0 and not self._holding.take(more):
            return "crowd"
        self._holding.give_back(max(0, -more))
        return "time" if self.idle >= STALL_SECONDS else None

    def give_up(self) -> None:
        """Cut the connection: somebody else needs the room."""
        self.transport.abortConnection()

    def close(self) -> None:
        """Nothing is left."""
        self._holding.close()


class Unsent:
    """Looks after connections that something was written to.

    What is left of it counts in ``memory``. ``cut`` is told why a connection was cut.
    """

    def __init__(
        self, clock: IReactorTime, memory: Budget, cut: Callable[[Reason], None] = lambda reason: None
    ) -> None:
        self._clock = clock
        self._memory = memory
        self._cut = cut
        self._written: dict[Any, str] = {}
        self._left: dict[Any, _Connection] = {}
        self._looking: IDelayedCall | None = None
        self._stopped = False

    def wrote(self, transport: Any, payer: str) -> None:
        """Something was written to a connection, for which ``payer`` pays."""
        self._written[transport] = payer
        if self._looking is None and not self._stopped:
            self._looking = self._clock.callLater(LOOK_SECONDS, self._look)

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _look(self) -> None:
        now = self._clock.seconds()
        written, self._written = self._written, {}
        for transport, payer in written.items():
            if transport not in self._left and unsent(transport):
                self._left[transport] = _Connection(transport, self._memory, payer, now)
        self._go_through(list(self._left.values()), now)

    def _go_through(self, connections: list[_Connection], now: float) -> None:
        for connection in connections[-AT_ONCE:]:
            self._look_at(connection, now)
        del connections[-AT_ONCE:]
        if connections:
            self._looking = self._clock.callLater(0, self._go_through, connections, now)
        elif self._left or self._written:
            self._looking = self._clock.callLater(LOOK_SECONDS, self._look)
        else:
            self._looking = None

    def _look_at(self, connection: _Connection, now: float) -> None:
        transport = connection.transport
        reason = None
        if unsent(transport) and not getattr(lowest(transport), "disconnected", False):
            reason = connection.look(now)
            if reason is None:
                return
            self._cut(reason)
            transport.abortConnection()
        connection.close()
        del self._left[transport]
