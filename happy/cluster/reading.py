"""What nodes read of the database about accounts, however many at a time: numbers, and what was missed.

Questions that come while one is asked are gathered into the next. A database that does not answer is asked
again: nothing was lost thereby, it is heard later.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from happy.base.redaction import describe_fault
from happy.base.trouble import Trouble
from happy.base.waiting import within
from happy.cluster.feed import Feed, Told
from happy.realtime.batches import message_update
from happy.realtime.large_updates import content_of, in_pieces, text_of
from happy.realtime.updates import Audience, Encrypted, Message
from happy.storage import log
from happy.storage.pieces import PIECE, InPieces

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from happy.metrics import Metrics
    from happy.storage.database import Database
    from happy.storage.transaction import Transaction

T = TypeVar("T")

PAUSE_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 10.0
"""How long an answer may take, and how soon it is asked for again without one."""

FILLED_AT_ONCE: Final = 16
"""Accounts whose missing updates are read together; each may be some hundred KiB."""

SILENT_SECONDS: Final = 2.0
"""How long what was committed may take over a bus that is well."""

NUMBERS_AT_ONCE: Final = 1_000
"""Accounts whose numbers are read, or compared, together."""


class _Found(NamedTuple):
    """What the log has of a feed from ``since`` on, and which numbers waited when it was asked.

    ``parts`` has the texts of large rows by their numbers.
    """

    gap: log.Gap
    since: int
    known: Sequence[int]
    parts: dict[int, Sequence[bytes]]


class Reading:
    """What is asked of the database, one question of a kind at a time."""

    _log = Logger()

    def __init__(
        self, database: Database, clock: IReactorTime, feeds: Callable[[], Iterable[Feed]], metrics: Metrics
    ) -> None:
        """``feeds`` are those that are compared with the database by :meth:`catch_up`."""
        self._database = database
        self._clock = clock
        self._feeds = feeds
        self._filled = metrics.happy_feed_gaps_total.labels("filled")
        self._gaps: dict[Feed, None] = {}
        self._large: dict[Feed, _Found] = {}
        """Feeds that miss something large, and what is known of that."""
        self._joining: dict[str, dict[Deferred[int], None]] = {}
        self._working: set[Callable[[], Coroutine[Deferred[Any], Any, None]]] = set()
        self._again = self._stopped = False
        self._trouble = Trouble(self._log, "reading what other nodes wrote", clock)

    def stop(self) -> None:
        """Ask for nothing more."""
        self._stopped = True

    # -- numbers ---------------------------------------------------------------------------------

    def number(self, account: str) -> Deferred[int]:
        """The account's latest number, read after this call; fires when the database answers.

        However long that takes: who waits no longer cancels it, and nothing is kept of it.
        """
        answer = Deferred[int](lambda answer: self._leave(account, answer))
        self._joining.setdefault(account, {})[answer] = None
        self._start(self._count)
        return answer

    def _leave(self, account: str, answer: Deferred[int]) -> None:
        """Nobody waits for an answer any more."""
        waiting = self._joining.get(account, {})
        waiting.pop(answer, None)
        if not waiting:
            self._joining.pop(account, None)

    async def _count(self) -> None:
        while self._joining and not self._stopped:
            asked = dict(list(self._joining.items())[:NUMBERS_AT_ONCE])
            for account in asked:
                del self._joining[account]
            found = await self._patiently(partial(log.numbers, accounts=list(asked)))
            for account, answers in asked.items():
                for answer in answers:
                    if not answer.called and found is not None:
                        answer.callback(found.get(account, 0))

    # -- what is missing -------------------------------------------------------------------------

    def ask(self, feed: Feed) -> None:
        """Read what a feed has missed."""
        if feed in self._large:
            self._start(self._fill_large)  # It is asked for again after that.
            return
        self._gaps[feed] = None
        self._start(self._fill)

    async def _fill(self) -> None:
        while self._gaps and not self._stopped:
            feeds = list(self._gaps)[:FILLED_AT_ONCE]
            for feed in feeds:
                del self._gaps[feed]
            joined = [(feed, feed.next, tuple(feed.waiting)) for feed in feeds if feed.next is not None]
            nexts = {feed.account: (feed, since, known) for feed, since, known in joined}
            asked = [(account, since) for account, (_, since, _) in nexts.items()]
            gaps = await self._patiently(partial(log.fill, nexts=asked)) if asked else {}
            for account, gap in (gaps or {}).items():
                feed, since, known = nexts[account]
                found = _Found(gap, since, known, {})
                if any(row.large for row in gap.rows):
                    self._put_aside(feed, found)
                else:
                    self._fill_in(feed, found)

    def _fill_in(self, feed: Feed, found: _Found) -> None:
        gap = found.gap
        self._filled.inc(bool(gap.rows))
        told = (_told(feed.account, row, found.parts.get(row.seq)) for row in gap.rows)
        if not feed.ended and feed.filled(found.since, told, gap.covered, gap.top, found.known):
            self._gaps[feed] = None

    # -- what is large is read a part at a time, while other accounts' is filled in -----------------

    def _put_aside(self, feed: Feed, found: _Found) -> None:
        self._large[feed] = found
        self._start(self._fill_large)

    async def _fill_large(self) -> None:
        while self._large and not self._stopped:
            feed, found = next(iter(self._large.items()))
            try:
                there = [
                    await self._read_parts(feed.account, row, found) for row in found.gap.rows if row.large
                ]
            finally:
                del self._large[feed]
            if all(there):
                self._fill_in(feed, found)
            if not feed.ended:
                self.ask(feed)

    async def _read_parts(self, account: str, row: log.Noted, found: _Found) -> bool:
        """Whether a row's text is there, and read."""
        parts: list[bytes] = []
        start, length = 0, log.PART
        while length == log.PART:
            part = await self._patiently(partial(log.part, account=account, row=row, start=start))
            if part is None:
                return False
            length = len(part)
            start += length
            parts.append(part.encode())
        found.parts[row.seq] = parts
        return True

    def catch_up(self) -> None:
        """Compare the numbers of all feeds with the database's, and read what is missing."""
        self._again = True
        self._start(self._compare)

    async def _compare(self) -> None:
        while self._again and not self._stopped:
            self._again = False
            for part in self._parts():
                nexts = [(account, feed.next) for account, feed in part.items() if feed.next is not None]
                moved = await self._patiently(partial(log.moved, nexts=nexts)) if nexts else ()
                for account in moved or ():
                    if not part[account].ended:
                        self.ask(part[account])

    async def silent(self) -> list[Feed]:
        """The feeds that are behind, and have been told of nothing for so long that nobody says it.

        Raises what reading of the database does.
        """
        behind: dict[Feed, int] = {}
        for part in self._parts():
            nexts = [(account, feed.next) for account, feed in part.items() if feed.next is not None]
            moved = set(await self._database.read(partial(log.moved, nexts=nexts)) if nexts else ())
            behind.update((part[account], following) for account, following in nexts if account in moved)
        if behind:
            await deferLater(self._clock, SILENT_SECONDS)
        return [feed for feed, following in behind.items() if feed.next == following]

    def _parts(self) -> Iterator[dict[str, Feed]]:
        """All feeds that have joined, by their accounts, as many as are compared together."""
        feeds = [feed for feed in self._feeds() if feed.next is not None]
        for start in range(0, len(feeds), NUMBERS_AT_ONCE):
            yield {feed.account: feed for feed in feeds[start : start + NUMBERS_AT_ONCE]}

    # -- the database ----------------------------------------------------------------------------

    def _start(self, work: Callable[[], Coroutine[Deferred[Any], Any, None]]) -> None:
        """Let one of the works above go on until there is nothing more to do, from the next turn on."""
        if work in self._working:
            return

        def begin() -> None:
            Deferred.fromCoroutine(work()).addErrback(failed).addBoth(lambda _: self._working.discard(work))

        def failed(failure: Failure) -> None:
            self._log.failure("Reading what other nodes wrote failed", failure)

        self._working.add(work)
        self._clock.callLater(0, begin)

    async def _patiently(self, work: Callable[[Transaction], Awaitable[T]]) -> T | None:
        """What the database answers, however often it has to be asked; None once this is stopped."""
        while not self._stopped:
            try:
                answer = await within(
                    PATIENCE_SECONDS, Deferred.fromCoroutine(self._database.read(work)), self._clock
                )
            except Exception as error:
                self._trouble.again(describe_fault(error))
                await deferLater(self._clock, PAUSE_SECONDS)
            else:
                self._trouble.over()
                return answer
        return None


def _told(account: str, row: log.Noted, parts: Sequence[bytes] | None = None) -> Told:
    """A row of the log as it was told, or would have been; ``parts`` are the text of a large one."""
    audience = Audience(account, row.session, row.machine)
    if row.message is None or row.session is None:
        payload: bytes | InPieces | None = None if row.text is None else row.text.encode()
        return Told(row.seq, audience, payload if parts is None else _in_pieces(parts), row.skip)
    message = row.message
    content: Any = message.content if parts is None else content_of(parts)
    body = Message(
        id=message.id,
        seq=message.seq,
        content=Encrypted(c=content),
        local_id=message.local_id,
        created_at=message.created_at,
        updated_at=message.updated_at,
    )
    update = message_update(account, row.session, row.seq, body)
    payload = text_of(update) if parts is None else in_pieces(update, content.size)
    return Told(row.seq, audience, payload, row.skip)


def _in_pieces(parts: Sequence[bytes]) -> InPieces:
    """A text in parts as it is told."""

    def portions() -> Iterator[bytes]:
        for part in parts:
            for start in range(0, len(part), PIECE):
                yield part[start : start + PIECE]

    return InPieces(sum(map(len, parts)), portions)
