"""Answers of any length, made of what is stored while the client takes them.

What a handler returns may hold :class:`~happy.storage.large.Large` values, and may be a :class:`Listing`.
Nearly always everything is there, and is answered as any other reply. If not, the JSON is written piece by
piece: some rows of the list, or a slice of a value, are read when the client has taken what came before. Rows
that were changed meanwhile appear as they are then, deleted ones are left out. What cannot be continued
raises, so that the client sees a broken answer and never a wrong one that looks whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from happy.api.answers import Allowance, Answer, answer_of, json_answer
from happy.api.portions import QUOTES, WRITERS, Outline, Sliced, outline, portions_of
from happy.api.structs import encode
from happy.base.errors import ChangedMeanwhile, Overloaded, TooLarge
from happy.storage.calls import NOBODY
from happy.storage.large import ROOM, SLICE, Large, Page

if TYPE_CHECKING:
    from happy.api.parts import Parts
    from happy.storage.transaction import Transaction

T = TypeVar("T")
V = TypeVar("V", bound=Sized | None)

COUNTED: Final = 16 * 1024
"""Bytes of rows from which on those that wait are counted."""

PIECE: Final = 256 * 1024
"""Bytes of rows that are read at a time, unless a single one has more."""

SLOW: Final = 128 * 1024
"""Length of a value from which on to write it takes a millisecond or more."""

TURN_SECONDS: Final = 60.0
"""How long an answer waits for the others that its account is taking, before it breaks off."""

TRIES: Final = 3
"""How often a value is read from its start that others change."""

Written = AsyncGenerator[bytes, None]
"""Pieces of JSON, none of them empty."""


async def _at_once() -> None:
    """Nothing is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """A reply that lists rows: ``reply`` makes it of their ``view``; the list comes first in its JSON.

    ``again`` reads rows once more by their ids, which are their first members. A row is shown after
    ``settled``, called when it was read, has come true (D-3).
    """

    page: Page[Any]
    view: Callable[[Any], Any]
    reply: Callable[[list[Any]], T]
    again: Callable[[Transaction, Sequence[str]], Awaitable[Page[Any]]]
    settled: Callable[[], Awaitable[None]] = _at_once


async def answer(parts: Parts, account: str | None, reply: Any) -> Answer:
    """The answer that a handler's return value stands for. Raises Overloaded."""
    if type(reply) is not Listing:
        return _answer_of(parts, account, reply)
    page = reply.page
    if page.whole:
        await _settle(parts, account, reply)
        return answer_of(reply.reply(list(map(reply.view, page.rows))), account)
    return Answer(content=_Written(parts, account, lambda json: json.listing(reply)), account=account)


def answer_with(parts: Parts, account: str | None, status: int, value: Any) -> Answer:
    """``value``, which may hold Large values, as a JSON answer."""
    try:
        return json_answer(status, value, account)
    except TypeError:  # A Large inside is what an encoder does not know.
        return in_pieces(parts, account, status, value)


def in_pieces(parts: Parts, account: str | None, status: int, value: Any) -> Answer:
    """``value`` as a JSON answer that is written while the client takes it."""
    outlined = outline(value)
    content = _Written(parts, account, lambda json: json.written(outlined))
    return Answer(status=status, content=content, account=account)


def _answer_of(parts: Parts, account: str | None, reply: Any) -> Answer:
    try:
        return answer_of(reply, account)
    except TypeError:
        return answer_with(parts, account, getattr(reply, "status", 200), reply)


async def _settle(parts: Parts, account: str | None, listing: Listing[Any]) -> None:
    """Wait until the rows may be shown; meanwhile their owner pays for them."""
    size = sum(listing.page.sizes)
    if size < COUNTED or account is None:
        await listing.settled()
        return
    waiting = _Waiting()
    holding = parts.memory.open(f"account:{account}", waiting)
    try:
        _take(holding, size)
        await listing.settled()
    finally:
        holding.close()
    if waiting.lost:
        raise Overloaded


class _Waiting:
    """Who pays for rows that wait."""

    lost = False

    def give_up(self) -> None:
        """Remember that they must not be shown."""
        self.lost = True


async def whole(parts: Parts, account: str, tx: Transaction, value: V | Large) -> V:
    """``value`` to its end, for an acknowledgement, which is one packet; its owner pays meanwhile.

    A Large one comes back as :class:`~happy.api.portions.Sliced`. To write much takes long, so much comes
    back when it is the owner's turn.

    Raises TooLarge when that is more than may wait for a client, Overloaded when there is no room, and
    ChangedMeanwhile.
    """
    if not isinstance(value, Large):
        if value is not None and len(value) >= SLOW:
            await parts.pace.turn(f"account:{account}")
        return value
    if value.size > parts.config.max_queued:
        raise TooLarge
    waiting, slices, size = _Waiting(), list[bytes](), 0
    holding = parts.memory.open(f"account:{account}", waiting)
    try:
        _take(holding, 2 * value.size)
        while not waiting.lost:
            slices.append(piece := await value.read(tx, size))
            size += len(piece)
            if len(piece) < SLICE:
                await parts.pace.turn(f"account:{account}")
                return cast(V, Sliced(value.kind, slices))
        raise Overloaded("there is no room for an answer")
    finally:
        holding.close()


async def unchanged(read: Callable[[], Awaitable[T]]) -> T:
    """What ``read`` answers when nobody changes a value meanwhile.

    Raises ChangedMeanwhile if somebody always does.
    """
    for _ in range(TRIES - 1):
        try:
            return await read()
        except ChangedMeanwhile:
            continue
    return await read()


class _Written:
    """JSON that is written while it is taken; implements :class:`~happy.api.answers.Pieces`."""

    length: int | None = None

    def __init__(self, parts: Parts, account: str | None, write: Callable[[_Written], Written]) -> None:
        self._database = parts.database
        self._clock = parts.clock
        self._pace = parts.pace
        self._account = account or NOBODY
        self._write: Callable[[_Written], Written] | None = write
        self._pieces: Written | None = None
        self._allowance: Allowance

    async def read(self, allowance: Allowance) -> bytes:
        """The next piece, which was taken from ``allowance``; empty at the end.

        Raises Overloaded when there is no room for it, ChangedMeanwhile, and what the database does.
        """
        if self._write is None:
            return b""
        self._allowance = allowance
        if self._pieces is None:
            self._pieces = self._write(self)
        try:
            return await self._pieces.__anext__()
        except StopAsyncIteration:
            return b""

    def close(self) -> None:
        """No more is wanted; what is being read is dropped when it comes."""
        self._write = self._pieces = None  # What writes has this, and must not be had by it.

    async def listing(self, listing: Listing[Any]) -> Written:
        """The JSON of a whole listing."""
        before, _, after = encode(listing.reply([])).partition(b"[]")
        page = listing.page
        waiting = deque((row[0], size) for row, size in zip(page.rows, page.sizes, strict=True))
        yield self._counted(before + b"[")
        comma = b""
        while waiting:
            asked = _some(waiting)
            found = await self._again(listing, asked)
            if found.whole:
                piece = _written(listing, found, comma)
                del found  # While the piece is sent, the rows need not be there as well,
                if piece:
                    yield self._counted(piece)
                    comma = b","
                del piece  # nor the piece when it has been.
            elif len(asked) > 1:  # They have grown; by what they have now they are fewer at a time.
                sizes = zip(found.rows, found.sizes, strict=True)
                waiting.extendleft(reversed([(row[0], size) for row, size in sizes]))
            else:
                async for piece in self.written(outline(listing.view(found.rows[0]), comma)):
                    yield piece
                comma = b","
        yield self._counted(b"]" + after)

    async def written(self, outline: Outline) -> Written:
        """The JSON of a value of which the outline is there already."""
        # What is at hand stays so until all of it is gone.
        _take(self._allowance, sum(one.size for one in outline.values if not isinstance(one, Large)))
        yield self._counted(outline.parts[0])
        for value, part in zip(outline.values, outline.parts[1:], strict=True):
            if isinstance(value, Large):
                async for piece in self._large(value):
                    yield piece
            else:
                for piece in portions_of(value):
                    # Nothing is waited for in between where the client takes all of it at once.
                    await self._pace.turn(f"account:{self._account}")
                    yield self._counted(piece)
            yield self._counted(part)

    async def _large(self, large: Large) -> Written:
        quote = QUOTES[large.kind]
        written, start, end = WRITERS[large.kind](), 0, False
        before = quote
        while not end:
            data = await self._slice(large, start)
            start += len(data)
            end = len(data) < SLICE
            text = before + written(data, end) + (quote if end else b"")
            before = b""
            del data
            if text:
                yield self._counted(text)
            del text

    async def _again(self, listing: Listing[Any], asked: Sequence[tuple[str, int]]) -> Page[Any]:
        """The rows as they are by now."""
        names = [name for name, _ in asked]

        async def work() -> Page[Any]:
            found = await self._database.read(lambda tx: listing.again(tx, names), owner=self._account)
            await listing.settled()
            return found

        return await self._in_turn(work, min(sum(size for _, size in asked), ROOM))

    async def _slice(self, large: Large, start: int) -> bytes:
        read = partial(large.read, start=start)
        return await self._in_turn(lambda: self._database.read(read, owner=self._account), SLICE)

    async def _in_turn(self, work: Callable[[], Awaitable[T]], size: int) -> T:
        """Read about ``size`` bytes. Each account has one turn, however many answers it is taking.

        PostgreSQL looks at all of a value for a slice of it, and what is read is in memory several times.
        """
        turn = [f"large {self._account}"]
        release = await self._database.linearizer.acquire_within(TURN_SECONDS, turn, self._clock)
        try:
            if self._write is None:
                raise ChangedMeanwhile  # Nobody wants it any more.
            _take(self._allowance, size)
            try:
                return await work()
            finally:
                self._allowance.give_back(size)
        finally:
            release()

    def _counted(self, piece: bytes) -> bytes:
        _take(self._allowance, len(piece))
        return piece


def _written(listing: Listing[Any], page: Page[Any], comma: bytes) -> bytes:
    """The JSON of all rows of a page, with commas between, and before if there are any."""
    rows = [encode(listing.view(row)) for row in page.rows]
    return b",".join([b"", *rows] if comma and rows else rows)


def _take(allowance: Allowance, amount: int) -> None:
    if not allowance.take(amount):
        raise Overloaded("there is no room for an answer")


def _some(waiting: deque[tuple[str, int]]) -> list[tuple[str, int]]:
    """Take the next rows, as many as go into a piece, but at least one."""
    some = [waiting.popleft()]
    room = PIECE - some[0][1]
    while waiting and waiting[0][1] <= room:
        some.append(waiting.popleft())
        room -= some[-1][1]
    return some
