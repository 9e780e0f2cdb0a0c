"""What many share: bounded as a whole and for each owner, and taken from the largest when it runs out.

An owner is whoever pays: an account, or before a login the address that somebody comes from. One owner never
has more than half. When everything is taken, whoever has most of all loses its largest holding, unless that
is the one who asks: then it is refused. So whoever fills a bound hurts itself, and nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
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
    """What one owner has, and the holdings that are not empty; ``most`` is not less than what it has."""

    __slots__ = ("holdings", "most", "name", "number", "open", "used")

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.used = 0
        self.most = 0
        self.open = 0
        self.holdings: dict[Holding, None] = {}


class _Largest:
    """Finds the owner that has most, in a few steps, however many owners there are.

    The heap has an entry for each by what it has at most. That is looked after only when an owner outgrows
    it, by a quarter then, and when somebody asks: so taking and giving back cost next to nothing.
    """

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, _Owner]] = []

    def outgrown(self, owner: _Owner, owners: int) -> None:
        """An owner, one of so many, has more than its entry says."""
        owner.most = owner.used + owner.used // 4
        heappush(self._heap, (-owner.most, owner.number, owner))
        if len(self._heap) > 2 * owners + 64:
            self._heap = list({entry[2]: entry for entry in self._heap if _is_valid(entry)}.values())
            heapify(self._heap)

    def find(self) -> _Owner:
        """The owner with most; of several the one that came first. There must be one."""
        heap = self._heap
        while True:
            owner = heap[0][2]
            if not _is_valid(heap[0]):
                heappop(heap)
            elif owner.used < owner.most:
                owner.most = owner.used
                heapreplace(heap, (-owner.most, owner.number, owner))
            else:
                return owner


def _is_valid(entry: tuple[int, int, _Owner]) -> bool:
    most, _, owner = entry
    return owner.open > 0 and owner.most == -most


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
        self._numbers = count()
        self._largest = _Largest()

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
            owner = self._owners[name] = _Owner(name, next(self._numbers))
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
            largest = self._largest.find()
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

    @property
    def owner(self) -> str:
        """The name of who pays."""
        return self._owner.name

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
        if used > owner.most:
            budget._largest.outgrown(owner, len(budget._owners))
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
