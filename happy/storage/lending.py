"""Connections that many share: so many at a time, and so many of them to one owner.

An owner has at most half of them. Owners who have to wait take turns, whoever has had least first, however
many calls of theirs wait. The server itself comes first, and there is always a connection left that nobody
else takes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from twisted.internet.defer import Deferred

from happy.base.errors import ConnectionLost
from happy.base.rotation import Rotation
from happy.base.waiting import OneByOne
from happy.storage.calls import SERVER, Call
from happy.storage.connection import Connection, usable

LONGEST_DEBT: Final = 0.25
"""Seconds of a connection that others get first at the most, after an owner had one for longer."""

_ALL_TO_CLIENTS: Final = 2
"""Up to so many connections, none is kept for the server."""


class ConnectionPlaces:
    """``size`` places, of which an owner has at most half, and the owners that wait for one."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.free = size
        self._share = max(1, size // 2)
        self._clients = size - 1 if size > _ALL_TO_CLIENTS else size
        self._taken: dict[str, int] = {}
        self._queues: Rotation[Deferred[None]] = Rotation(LONGEST_DEBT)
        self._turns = OneByOne()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._queues.size

    def try_take(self, owner: str) -> bool:
        """Take a place, if one is free for this owner and nobody of it waits already."""
        if owner in self._queues or not self._open_to(owner):
            return False
        self._take(owner)
        return True

    def take(self, owner: str) -> Deferred[None]:
        """Fires when there is a place, which is taken then. Cancelling ends the wait."""
        turn: Deferred[None] = Deferred(lambda turn: self._leave(owner, turn))
        self._queues.add(owner, turn)
        self._serve()
        return turn

    def give_back(self, owner: str, seconds: float = 0.0) -> None:
        """A place is free again, after so long."""
        self.free += 1
        taken = self._taken.pop(owner) - 1
        if taken:
            self._taken[owner] = taken
        if self._queues.size:
            self._queues.charge(owner, seconds)
            self._serve()

    def _open_to(self, owner: str) -> bool:
        if not self.free or owner == SERVER:
            return self.free > 0
        clients = self.size - self.free - self._taken.get(SERVER, 0)
        return clients < self._clients and self._taken.get(owner, 0) < self._share

    def _take(self, owner: str) -> None:
        self.free -= 1
        self._taken[owner] = self._taken.get(owner, 0) + 1

    def _leave(self, owner: str, turn: Deferred[None]) -> None:
        if not self._queues.remove(owner, turn):  # it has its place, and was about to hear of it
            self.give_back(owner)

    def _serve(self) -> None:
        """Give what is free to those who wait, an owner at a time."""
        while (following := self._next()) is not None:
            owner, turn = following
            self._take(owner)
            self._turns.fire(turn)

    def _next(self) -> tuple[str, Deferred[None]] | None:
        if SERVER in self._queues and self._open_to(SERVER):
            return self._queues.take(SERVER.__eq__)
        # At most two are passed over: no more can have their share.
        return self._queues.take(self._open_to)


class Pool:
    """At most ``size`` connections, opened when first needed, handed out to one borrower at a time."""

    def __init__(self, open_: Callable[[float], Awaitable[Connection]], size: int) -> None:
        self._open = open_
        self._places = ConnectionPlaces(size)
        self._idle: list[Connection] = []
        self._closed = False

    async def borrow(self, call: Call) -> Connection:
        """A usable connection, to be given back with :meth:`give_back`.

        Raises ConnectionLost, and Overloaded when there is no place for the call in time.
        """
        if not self._places.try_take(call.owner):
            await call.wait(self._places.take(call.owner))
        call.borrow()
        try:
            return self._idle_one() or await self._fresh_one(call)
        except BaseException:
            self._places.give_back(call.owner)
            raise

    def try_borrow(self, call: Call) -> Connection | None:
        """As :meth:`borrow`, if nothing has to be waited for."""
        if not self._idle or not self._places.try_take(call.owner):
            return None
        call.borrow()
        connection = self._idle_one()
        if connection is None:
            self._places.give_back(call.owner)
        return connection

    def give_back(self, connection: Connection, call: Call) -> None:
        """End a loan; a connection that is closed, swollen or inside a transaction is thrown away."""
        try:
            if not self._closed and not connection.swollen and usable(connection):
                self._idle.append(connection)
            else:
                connection.close()
        finally:
            self._places.give_back(call.owner, call.borrowed)

    @property
    def idle(self) -> int:
        """Open connections nobody uses."""
        return len(self._idle)

    @property
    def busy(self) -> int:
        """Connections on loan, or being opened for a borrower."""
        return self._places.size - self._places.free

    @property
    def waiting(self) -> int:
        """Borrowers in the queue."""
        return self._places.waiting

    def close(self) -> None:
        """Close idle connections now, and borrowed ones when they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _idle_one(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if usable(connection):
                return connection
            connection.close()
        return None

    async def _fresh_one(self, call: Call) -> Connection:
        if self._closed:
            raise ConnectionLost(None)
        return await self._open(call.left)


def division(limit: int | None, size: int) -> tuple[int, int, int]:
    """How many connections are shared, for batches, and aside; none for what shares with all others."""
    if limit is None:
        return size, 1, 2
    batches, aside = min(limit - 1, 1), min(max(limit - 2, 0) // 2, 2)
    return limit - batches - aside, batches, aside
