"""What a handler sees of a transaction, and what it leaves behind for after the commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from happy.base.errors import AccountVanished
from happy.storage.connection import Connection, execute
from happy.storage.pieces import MAKE_ROOM, SECONDS, InPieces, Parameters, SentAhead, any_large
from happy.storage.types import Millis

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

LONG_SECONDS = 900.0
"""How long a statement may take that has no limit of its own on the server."""

NO_TIME_LIMIT = """
SET LOCAL statement_timeout = 0
"""


class Audience(Protocol):
    """Who hears a publication; ``account`` is whose sequence numbers it."""

    @property
    def account(self) -> str: ...


class Publication(NamedTuple):
    """A committed change for the publisher; has the members of ``happy.realtime.updates.Update``."""

    audience: Audience
    seq: int
    body: Any
    created_at: int
    skip: object | None
    text: str | InPieces | None = None
    """What is told, where it was noted in the log."""


class Note(NamedTuple):
    """A row for the log (:mod:`happy.storage.log`): a number, its audience, and the text as it is sent."""

    account: str
    seq: int
    session: str | None
    machine: str | None
    skip: str | None
    text: str | InPieces


class Publisher(Protocol):
    """Where committed changes go; the hub is one."""

    def deliver(self, update: Any) -> None:
        """Hand a numbered change to its audience."""

    def signal(self, audience: Any, body: Any) -> None:
        """Hand a passing signal to its audience."""

    def told(self, account: str) -> Deferred[None] | None:
        """Fires when the account's clients were told of every change before; None if they were."""


class Unnumbered(NamedTuple):
    """A publication that has no number yet."""

    audience: Audience
    body: Any
    skip: object | None


class Signal(NamedTuple):
    audience: Audience
    body: Any


class Transaction:
    """Statements of one unit of work, and what is to happen once they are committed.

    Everything collected here belongs to one attempt and is dropped with it. ``now`` is one value for
    the whole attempt. Statements run one after another: await each before the next.
    """

    def __init__(
        self, connection: Connection, now: int, *, reading: bool = False, opening: str = "BEGIN;"
    ) -> None:
        self.now = Millis(now)
        self._connection = connection
        self._reading = reading
        # BEGIN travels with the first statement, which saves a round trip.
        self._opening = "" if reading else opening
        self._pieces: SentAhead | None = None
        self.outbox: list[Unnumbered | Signal] = []
        self.callbacks: list[Callable[[], None]] = []
        self.texts: dict[tuple[str, int], str | InPieces] = {}

    async def rows(self, sql: str, params: Parameters = ()) -> list[tuple[Any, ...]]:
        """Every row of the result. Raises QueryFailed."""
        cursor = await self._execute(sql, params)
        found: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
        return found

    async def row(self, sql: str, params: Parameters = ()) -> tuple[Any, ...] | None:
        """The first row of the result, or None. Raises QueryFailed."""
        cursor = await self._execute(sql, params)
        found: tuple[Any, ...] | None = cursor.fetchone() if cursor.description else None
        return found

    async def run(self, sql: str, params: Parameters = ()) -> int:
        """The number of rows the statement touched. Raises QueryFailed."""
        self._must_write()
        cursor = await self._execute(sql, params)
        touched: int = cursor.rowcount
        return touched

    async def take_time(self) -> None:
        """Let the statements that follow run for as long as they need."""
        await self._execute(NO_TIME_LIMIT, ())
        self._connection.limit = LONG_SECONDS

    def publish(self, audience: Audience, body: Any, skip: object | None = None) -> None:
        """Number a change in its account's sequence at commit, then deliver it to its audience.

        ``skip`` is the connection that must not hear it. The transaction fails with AccountVanished
        when the account has no row.
        """
        self._must_write()
        self.outbox.append(Unnumbered(audience, body, skip))

    def signal(self, audience: Audience, body: Any) -> None:
        """Signal an audience after the commit, in order with what is published."""
        self.outbox.append(Signal(audience, body))

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call a function once the commit is certain and the outbox is delivered."""
        self.callbacks.append(callback)

    @property
    def begun(self) -> bool:
        """Whether there is something to commit."""
        return not (self._opening or self._reading)

    def published(self) -> Counter[str]:
        """How many numbers each account needs."""
        return Counter(entry.audience.account for entry in self.outbox if isinstance(entry, Unnumbered))

    async def _execute(self, sql: str, params: Parameters) -> Any:
        if params and not self._reading and any_large(params):
            params = await self._send_ahead(params)
        opening, self._opening = self._opening, ""
        return await execute(self._connection, opening + sql, params)

    async def _send_ahead(self, params: Parameters) -> Parameters:
        """Send what is large of the parameters; answers what stands for them in the statement."""
        if self._pieces is None:
            await self._execute(MAKE_ROOM, ())
            self._pieces = SentAhead()
            self._connection.limit = max(self._connection.limit, SECONDS)
        small, ahead = self._pieces.split(params)
        for sql, piece in ahead:
            await execute(self._connection, sql, piece)
        return small

    def _must_write(self) -> None:
        if self._reading:
            raise TypeError("a reading transaction changes and publishes nothing")


Noting = Callable[[Publication], Note]
"""Makes a row for the log of what is published."""


def numbered(tx: Transaction, seqs: Mapping[str, int]) -> Iterator[Publication | Signal]:
    """What is in the outbox, with numbers; ``seqs`` has the last number of each account before."""
    last = dict(seqs)
    for entry in tx.outbox:
        if isinstance(entry, Signal):
            yield entry
            continue
        account = entry.audience.account
        last[account] = seq = last[account] + 1
        text = tx.texts.get((account, seq))
        yield Publication(entry.audience, seq, entry.body, int(tx.now), entry.skip, text)


def noted(tx: Transaction, seqs: Mapping[str, int], noting: Noting) -> list[Note]:
    """Rows for the log; what is delivered later has the same texts."""
    notes = [noting(entry) for entry in numbered(tx, seqs) if isinstance(entry, Publication)]
    tx.texts = {(note.account, note.seq): note.text for note in notes}
    return notes


def last_numbers(tx: Transaction, locked: Mapping[str, int]) -> dict[str, int]:
    """Of the accounts published to, the numbers they had reached. Raises AccountVanished."""
    try:
        return {account: locked[account] for account in tx.published()}
    except KeyError:
        raise AccountVanished from None
