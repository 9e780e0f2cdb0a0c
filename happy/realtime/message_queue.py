"""Messages that wait for a batch: in order for each account, and in turn among the accounts."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from happy.base.bounds import Budget, Holding
from happy.base.errors import Overloaded
from happy.realtime.batches import ROW_BYTES, Append, Release, weight

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.storage.linearizer import Linearizer

MAX_BATCH_ROWS: Final = 512
MAX_BATCH_BYTES: Final = 2 * 1024 * 1024
LEAST_ROWS, LEAST_BYTES = 8, 64 * 1024
"""What an account may have in a batch, as far as there is room, however many others wait."""

LARGE_BYTES: Final = 1024 * 1024
"""Above this size what one sender appends at once is stored by itself, where nobody waits behind it."""

MAX_QUEUED_BYTES: Final = 256 * 1024 * 1024
"""Half of it is for one account: enough for the largest request."""

REFUSED_AT_ONCE: Final = 100
"""Messages that are turned away in a turn of the reactor."""

MOST_IDLE: Final = 1024
"""Accounts without messages whose lines are kept, to be used again."""

LIGHT_BYTES: Final = 512 * 1024
"""What one account may have in a batch at most, by weight, while much is stored and not yet told."""


_turn = attrgetter("turn")


class _Line:
    """What waits of one account. ``turn`` is the number of its last one, of all turns of all."""

    __slots__ = ("account", "appends", "asked", "crowded_out", "holding", "release", "turn")

    def __init__(self, account: str, budget: Budget, crowded_out: Callable[[_Line], None]) -> None:
        self.account = account
        self.appends: deque[Append] = deque()
        self.asked = False
        self.turn = 0
        self.release: Release | None = None
        self.crowded_out = crowded_out
        self.holding: Holding = budget.open(account, self)

    def give_up(self) -> None:
        """Others need the room. If less than all of it went, the rest would be stored out of order."""
        self.crowded_out(self)

    def take(self, most_rows: int, most_size: int) -> tuple[list[Append], int, int]:
        """What comes first and is not large, as much as fits; one at least. Also its rows and its size."""
        appends = self.appends
        append = appends.popleft()
        taken, rows, size = [append], len(append.rows), append.size
        while appends:
            append = appends[0]
            new_rows, new_size = rows + len(append.rows), size + append.size
            if new_rows > most_rows or new_size > most_size or append.size > LARGE_BYTES:
                break
            taken.append(appends.popleft())
            rows, size = new_rows, new_size
        return taken, rows, size


def _share(rows: int, size: int, others: int) -> tuple[int, int]:
    """What one account may have of what is left of a batch when so many others wait."""
    if others <= 0:
        return rows, size
    return (
        min(rows, MAX_BATCH_ROWS // 2, max(rows // (others + 1), LEAST_ROWS)),
        min(size, MAX_BATCH_BYTES // 2, max(size // (others + 1), LEAST_BYTES)),
    )


class MessageQueue:
    """The lines of all accounts. ``ready`` is called when one may have become free to be taken.

    From those in ``common`` something may be taken into a batch of many, from those in ``large`` something
    that is stored by itself; who has had no turn for longest comes first.

    An account is held in the linearizer from when something of it is taken until that is stored; while
    somebody else holds it, its line stands aside, and the others go on. ``refused`` is told why messages
    were turned away.
    """

    def __init__(
        self,
        clock: IReactorTime,
        linearizer: Linearizer,
        ready: Callable[[], None],
        refused: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._linearizer = linearizer
        self._ready = ready
        self._budget = Budget(MAX_QUEUED_BYTES, refused=refused, latest=True)
        self._lines: dict[str, _Line] = {}
        self._idle: OrderedDict[str, _Line] = OrderedDict()
        self.common: dict[str, _Line] = {}
        self.large: dict[str, _Line] = {}
        self._turns = count(1)
        self.rows = 0

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Append]:
        for line in self._lines.values():
            yield from line.appends

    def add(self, append: Append) -> bool:
        """Put something at the end of its account's line; False when there is no room for it."""
        line = self._lines.get(append.account) or self._idle.pop(append.account, None)
        if line is None:
            line = _Line(append.account, self._budget, self._crowd_out)
        if not line.holding.take(append.weight):
            if not line.appends:
                line.holding.close()
            return False
        line.appends.append(append)
        self.rows += len(append.rows)
        if len(line.appends) == 1:
            self._lines[append.account] = line
            self._line_up(line)
        return True

    def take(self, *, light: bool = False) -> tuple[list[Append], list[Release]]:
        """What makes the next batch, and how to give back the accounts that it holds.

        Accounts take turns; none fills a batch while others wait. With ``light`` only what weighs little.
        """
        taken: list[Append] = []
        releases: list[Release] = []
        heavy: list[_Line] = []
        rows, size = MAX_BATCH_ROWS, MAX_BATCH_BYTES
        waiting = deque(sorted(self.common.values(), key=_turn))
        self.common.clear()
        while waiting:
            line = waiting.popleft()
            first = line.appends[0]
            if light and first.weight > LIGHT_BYTES:
                heavy.append(line)
                continue
            if taken and (len(first.rows) > rows or first.size > size):
                waiting.appendleft(line)
                break
            release = self._hold(line)
            if release is None:
                continue
            most_rows, most_size = _share(rows, size, len(waiting))
            if light:
                most_rows, most_size = min(most_rows, LIGHT_BYTES // ROW_BYTES), min(most_size, LIGHT_BYTES)
            of_line, line_rows, line_size = line.take(most_rows, most_size)
            rows -= line_rows
            size -= line_size
            taken += of_line
            releases.append(release)
            self._left(line, line_rows, line_size)
        for line in (*heavy, *waiting):
            self.common[line.account] = line
        return taken, releases

    def take_large(self) -> tuple[Append, Release] | None:
        """What is stored by itself next, if there is something whose account nobody holds."""
        while self.large:
            line = self.large.pop(min(self.large.values(), key=_turn).account)
            release = self._hold(line)
            if release is not None:
                append = line.appends.popleft()
                self._left(line, len(append.rows), append.size)
                return append, release
        return None

    def _left(self, line: _Line, rows: int, size: int) -> None:
        """Something of a line was taken."""
        self.rows -= rows
        line.turn = next(self._turns)
        line.holding.give_back(weight(rows, size))
        self._line_up(line)

    def _line_up(self, line: _Line) -> None:
        """Give a line its place among those that may be taken from, unless it is empty."""
        if not line.appends:
            del self._lines[line.account]
            self._idle[line.account] = line
            if len(self._idle) > MOST_IDLE:
                self._idle.popitem(last=False)[1].holding.close()
        elif not line.asked:
            lines = self.large if line.appends[0].size > LARGE_BYTES else self.common
            lines[line.account] = line

    def _hold(self, line: _Line) -> Release | None:
        """Hold the account of a line; otherwise the line waits for it."""
        release, line.release = line.release, None
        release = release or self._linearizer.try_acquire((line.account,))
        if release is None:
            line.asked = True
            self._linearizer.wait((line.account,)).addCallback(self._granted, line)
        return release

    def _granted(self, release: Release, line: _Line) -> None:
        line.asked = False
        if self._lines.get(line.account) is not line:
            release()
            return
        line.release = release
        self._line_up(line)
        self._ready()

    def _crowd_out(self, line: _Line) -> None:
        """Turn away what waits of an account, which hears of it in a turn of its own."""
        appends, line.appends = line.appends, deque()
        self.rows -= sum(len(append.rows) for append in appends)
        del self._lines[line.account]
        self.common.pop(line.account, None)
        self.large.pop(line.account, None)
        self._clock.callLater(0, self._turn_away, line, appends)

    def _turn_away(self, line: _Line, appends: deque[Append]) -> None:
        line.holding.close()
        if line.release is not None:
            line.release()
        self._fail_some(appends)

    def _fail_some(self, appends: deque[Append]) -> None:
        """As many as there is time for in a turn."""
        for _ in range(min(len(appends), REFUSED_AT_ONCE)):
            appends.popleft().fail(Overloaded("too many messages wait for the database"))
        if appends:
            self._clock.callLater(0, self._fail_some, appends)
