"""What many share: bounded as a whole and for each owner, and taken from the largest when it runs out.

An owner is whoever pays: an account, or before a login the address that somebody comes from. One owner never
has more than half. When everything is taken, whoever has most of all loses its largest holding, unless that
is the one who asks: then it is refused. So whoever fills a bound hurts itself, and nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

OVER_SHARE: Final = "share"
"""An owner asked for more than its share."""

CROWDED_OUT: Final = "crowd"
"""Everything was taken, and the owner had the most."""


class Payer(Protocol):
    """What holds something."""

    def give_up(self) -> None:
        """Let go of everything now, and end; what was held is counted as free already.

        Called while somebody else asks for room: it must not call back into the program, nor ask for any.
        """


class _Owner:
    """What one owner has, and the holdings that are not empty."""

    __slots__ = ("holdings", "name", "open", "used")

    def __init__(self, name: str) -> None:
        self.name = name
        self.used = 0
        self.open = 0
        self.holdings: dict[Holding, None] = {}


class Budget:
    """``size`` of something, of which no owner gets more than ``share`` (half of it by default).

    ``refused`` is told why somebody got nothing, or lost what it had: :data:`OVER_SHARE` or
    :data:`CROWDED_OUT`. Of several equally large holdings the one goes that was taken first, or in a line,
    where ``latest`` is set, the one that came last.
    """

    def __init__(
        self,
        size: int,
        *,
        share: int | None = None,
        refused: Callable[[str], None] = lambda why: None,
        latest: bool = False,
    ) -> None:
        self._latest = latest
        self.size = size
        self.share = size // 2 if share is None else share
        self.used = 0
        self._refused = refused
        self._owners: dict[str, _Owner] = {}

    def open(self, owner: str, payer: Payer) -> Holding:
        """An empty holding, to be closed by :meth:`Holding.close`."""
        return Holding(self, self._enter(owner), payer)

    def used_by(self, owner: str) -> int:
        """What an owner has."""
        known = self._owners.get(owner)
        return 0 if known is None else known.used

    def _enter(self, name: str) -> _Owner:
        owner = self._owners.get(name)
        if owner is None:
            owner = self._owners[name] = _Owner(name)
        owner.open += 1
        return owner

    def _leave(self, owner: _Owner) -> None:
        owner.open -= 1
        if not owner.open:
            del self._owners[owner.name]

    def _make_room(self, asking: _Owner, amount: int) -> bool:
        """Whether ``asking`` may have ``amount`` more, after others had to let go if need be."""
        if asking.used + amount > self.share:
            self._refused(OVER_SHARE)
            return False
        while self.used + amount > self.size:
            largest = max(self._owners.values(), key=lambda owner: owner.used)
            if largest is asking or largest.used <= asking.used + amount:
                self._refused(CROWDED_OUT)
                return False
            holdings = reversed(largest.holdings) if self._latest else iter(largest.holdings)
            max(holdings, key=lambda holding: holding.size).lose()
            self._refused(CROWDED_OUT)
        return True


class Holding:
    """What one connection, request or piece of work has of a budget; ``size`` is how much."""

    __slots__ = ("_budget", "_lost", "_owner", "_payer", "size")

    def __init__(self, budget: Budget, owner: _Owner, payer: Payer) -> None:
        self._budget = budget
        self._owner = owner
        self._payer: Payer | None = payer
        self._lost = False
        self.size = 0

    def take(self, amount: int) -> bool:
        """Take some more; False, and nothing taken, when there is none for this owner."""
        if self._lost:
            return False
        budget, owner = self._budget, self._owner
        used, total = owner.used + amount, budget.used + amount
        if used > budget.share or total > budget.size:
            if not budget._make_room(owner, amount):
                return False
            total = budget.used + amount
        if amount and not self.size:
            owner.holdings[self] = None
        self.size += amount
        owner.used = used
        budget.used = total
        return True

    def give_back(self, amount: int) -> None:
        """Give back some of what was taken."""
        if self._lost or not amount:
            return
        self.size -= amount
        self._owner.used -= amount
        self._budget.used -= amount
        if not self.size:
            del self._owner.holdings[self]

    def empty(self) -> None:
        """Give back everything."""
        self.give_back(self.size)

    def move(self, owner: str) -> bool:
        """Let another owner pay from now on; False, and nothing moved, if that is beyond its share."""
        budget, size = self._budget, self.size
        if self._lost:
            return False
        if size and budget.used_by(owner) + size > budget.share:
            return False
        entered = budget._enter(owner)
        self.give_back(size)
        budget._leave(self._owner)
        self._owner = entered
        return not size or self.take(size)

    def close(self) -> None:
        """Give back everything, for good. May be called again."""
        if self._payer is not None:
            self.give_back(self.size)
            self._payer = None
            self._lost = True
            self._budget._leave(self._owner)

    def lose(self) -> None:
        """Have nothing any more, because somebody else needs it; the payer is told."""
        payer = self._payer
        self.empty()
        self._lost = True
        if payer is not None:
            payer.give_up()
