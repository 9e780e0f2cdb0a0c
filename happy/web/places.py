"""How many connections there are, WebSockets included, and whose they are.

When all places are taken, whoever has most of them loses the connection that has been unused for longest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from happy.base.bounds import Budget

if TYPE_CHECKING:
    from collections.abc import Callable

    from happy.base.bounds import Holding

KEEP_ALIVE_SECONDS: Final = 72
"""How long a connection may be idle."""


class Places:
    """Places for ``room`` connections. ``refused`` is told why somebody got none, or lost one."""

    def __init__(self, room: int, refused: Callable[[str], None]) -> None:
        self._budget = Budget(room, refused=refused)

    def __len__(self) -> int:
        return self._budget.used

    @property
    def crowded(self) -> bool:
        """Whether so many places are taken that it matters which were used last."""
        return self._budget.used * 2 > self._budget.size

    def open(self, owner: str) -> Place | None:
        """A place for a connection of ``owner``, who may have half of all; None if there is none."""
        place = Place(self._budget, owner)
        return place if place.take() else None


class Place:
    """One connection's place."""

    __slots__ = ("_budget", "_holding", "transport")

    def __init__(self, budget: Budget, owner: str) -> None:
        self._budget = budget
        self._holding: Holding = budget.open(owner, self)
        self.transport: Any = None

    def take(self) -> bool:
        """Whether there is such a place."""
        if self._holding.take(1):
            return True
        self._holding.close()
        return False

    def use(self) -> None:
        """Be lost after those that are not used; told where it is :attr:`Places.crowded`."""
        # What is taken last is lost last.
        self._holding.give_back(1)
        self._holding.take(1)

    def charge(self, owner: str) -> None:
        """Let the place be another owner's, if that one may have more."""
        self._holding.move(owner)

    def leave(self) -> None:
        """The connection is gone. May be called again."""
        self._holding.close()
        self.transport = None

    def give_up(self) -> None:
        """Cut the connection; the reactor tells it a turn later."""
        if self.transport is not None:
            self.transport.abortConnection()
