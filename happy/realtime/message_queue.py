"""Messages that wait for a batch: in order for each account, and in turn among the accounts."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred

from happy.bounds import Budget, Holding
from happy.errors import Overloaded
from happy.realtime.batches import Append, Release

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.storage.linearizer import Linearizer

MAX_BATCH_ROWS: Final = 512
MAX_BATCH_BYTES: Final = 2 * 1024 * 1024
LARGE_BYTES: Final = 1024 * 1024
"""Above this size what one sender appends at once is stored by itself, where nobody waits behind it."""

MAX_QUEUED_ROWS: Final = 20_000
MAX_QUEUED_BYTES: Final = 256 * 1024 * 1024
"""Half of either is for one account: enough for the largest request."""

ROW_BYTES: Final = MAX_QUEUED_BYTES // MAX_QUEUED_ROWS
"""What a row counts in the bound besides its size."""


class _Line:
    """What waits of one account."""

    __slots__ = ("account", "appends", "asked", "crowded_out", "holding", "release")

    def __init__(self, account: str, budget: Budget, crowded_out: Callable[[_Line], None]) -> None:
        self.account = account
        self.appends: deque[Append] = deque()
        self.asked = False
        self.release: Release | None = None
        self.crowded_out = crowded_out
        self.holding: Holding = budget.open(account, self)

    def give_up(self) -> None:
        """Others need the room. If less than all of it went, the rest would be stored out of order."""
        self.crowded_out(self)

    @property
    def large(self) -> bool:
        """Whether what comes next is stored by itself."""
        return self.appends[0].size > LARGE_BYTES


class MessageQueue:
    """The lines of all accounts. ``ready`` is called when one may have become free to be taken.

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
        self._common: OrderedDict[str, _Line] = OrderedDict()
        self._large: OrderedDict[str, _Line] = OrderedDict()
        """Lines that may be taken from, in turn, by how what comes next is stored."""
        self.rows = 0

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Append]:
        for line in self._lines.values():
            yield from line.appends

    @property
    def has_common(self) -> bool:
        """Whether something may be taken into a batch of many."""
        return bool(self._common)

    @property
    def has_large(self) -> bool:
        """Whether something may be taken that is stored by itself."""
        return bool(self._large)

    def add(self, append: Append) -> bool:
        """Put something at the end of its account's line; False when there is no room for it."""
        line = self._lines.get(append.account)
        if line is None:
            line = _Line(append.account, self._budget, self._crowd_out)
        if not line.holding.take(_weight(append)):
            if not line.appends:
                line.holding.close()
            return False
        line.appends.append(append)
        self.rows += len(append.rows)
        if len(line.appends) == 1:
            self._lines[append.account] = line
            self._line_up(line)
        return True

    def take(self) -> tuple[list[Append], list[Release]]:
        """What makes the next batch, and how to give back the accounts that it holds.

        Accounts take turns; none fills a batch while others wait.
        """
        batch = _Room()
        releases: list[Release] = []
        while self._common:
            _, line = self._common.popitem(last=False)
            if not batch.fits(line.appends[0]):
                self._common[line.account] = line
                self._common.move_to_end(line.account, last=False)
                break
            release = self._hold(line)
            if release is not None:
                own = _Room(MAX_BATCH_ROWS // 2, MAX_BATCH_BYTES // 2) if self._common else _Room()
                while line.appends and not line.large and batch.fits(line.appends[0]):
                    if not own.fits(line.appends[0]):
                        break
                    append = self._take_first(line)
                    batch.add(append)
                    own.add(append)
                releases.append(release)
                self._line_up(line)
        return batch.appends, releases

    def take_large(self) -> tuple[Append, Release] | None:
        """What is stored by itself next, if there is something whose account nobody holds."""
        while self._large:
            _, line = self._large.popitem(last=False)
            release = self._hold(line)
            if release is not None:
                append = self._take_first(line)
                self._line_up(line)
                return append, release
        return None

    def _take_first(self, line: _Line) -> Append:
        append = line.appends.popleft()
        line.holding.give_back(_weight(append))
        self.rows -= len(append.rows)
        return append

    def _line_up(self, line: _Line, *, first: bool = False) -> None:
        """Give a line its place among those that may be taken from; one that is empty is over."""
        if not line.appends:
            del self._lines[line.account]
            line.holding.close()
        elif not line.asked:
            lines = self._large if line.large else self._common
            lines[line.account] = line
            if first:
                lines.move_to_end(line.account, last=False)

    def _hold(self, line: _Line) -> Release | None:
        """Hold the account of a line; otherwise the line waits for it."""
        release, line.release = line.release, None
        release = release or self._linearizer.try_acquire((line.account,))
        if release is None:
            line.asked = True
            waiting = Deferred.fromCoroutine(self._linearizer.acquire((line.account,)))
            waiting.addCallback(self._granted, line)
        return release

    def _granted(self, release: Release, line: _Line) -> None:
        line.asked = False
        if self._lines.get(line.account) is not line:
            release()
            return
        line.release = release
        self._line_up(line, first=True)
        self._ready()

    def _crowd_out(self, line: _Line) -> None:
        """Turn away what waits of an account, which hears of it in a turn of its own."""
        appends = list(line.appends)
        line.appends.clear()
        self.rows -= sum(len(append.rows) for append in appends)
        del self._lines[line.account]
        self._common.pop(line.account, None)
        self._large.pop(line.account, None)
        self._clock.callLater(0, self._turn_away, line, appends)

    def _turn_away(self, line: _Line, appends: list[Append]) -> None:
        line.holding.close()
        if line.release is not None:
            line.release()
        for append in appends:
            append.fail(Overloaded("too many messages wait for the database"))


class _Room:
    """What of a batch is taken, and how much more fits. The first append always does."""

    def __init__(self, rows: int | None = None, size: int | None = None) -> None:
        self.appends: list[Append] = []
        self._rows = MAX_BATCH_ROWS if rows is None else rows
        self._size = MAX_BATCH_BYTES if size is None else size

    def fits(self, append: Append) -> bool:
        return not self.appends or (len(append.rows) <= self._rows and append.size <= self._size)

    def add(self, append: Append) -> None:
        self.appends.append(append)
        self._rows -= len(append.rows)
        self._size -= append.size


def _weight(append: Append) -> int:
    return append.size + ROW_BYTES * len(append.rows)
