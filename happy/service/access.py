"""What the operator says of accounts and secrets takes effect within a second, whoever wrote it into the
database."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from happy.base.rounds import Rounds
from happy.keys.access import KeptOut
from happy.keys.tokens import fingerprint
from happy.service.identity import Counting, counting
from happy.storage import access as stored
from happy.storage import registration, secrets
from happy.storage.access import Sighting

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.keys.tokens import Tokens
    from happy.logs.events import Events
    from happy.realtime.client import Client
    from happy.realtime.hub import Hub
    from happy.storage.database import Database
    from happy.storage.transaction import Transaction

SECONDS: Final = 1.0
"""Between two looks. A look is one row by its key; to be told by the database instead would need a session of
its own, which a pooler does not give, and looks besides for the time in which it was lost."""

_LATELY: Final = 5
"""Looks whose closing of sockets is told to whoever asks next."""

_NOTING: Final = 30
"""Looks after which is stored which pairings were seen."""

_UNREAD: Final = -1
"""Stands for the version before the first look."""

_log = Logger()


class AccessRounds:
    """Keeps what is in memory as the database has it, and closes the sockets of those who are kept out."""

    def __init__(
        self, database: Database, tokens: Tokens, hub: Hub, clock: IReactorTime, events: Events
    ) -> None:
        self._events = events
        self._database = database
        self._tokens = tokens
        self._access = tokens.access
        self._void = False
        self._hub = hub
        self._version: int | None = _UNREAD
        self._turn = 0
        self._lately: deque[int] = deque(maxlen=_LATELY)
        self._one_at_a_time = DeferredLock()
        self._rounds = Rounds(
            "looking what the operator says",
            self._look,
            clock,
            seconds=SECONDS,
            patience=10.0,
        )

    async def start(self) -> None:
        """Know it, from now on. Raises what reading the database does."""
        await self.refresh()
        self._rounds.start()

    async def stop(self) -> None:
        """Look no more, and store which pairings were seen."""
        self._rounds.stop()
        await self.note()

    async def look_now(self) -> int:
        """Know it now; how many sockets were closed for it, then or in the last few looks.

        Whoever wrote into the database asks a moment later, which a look may come before.
        """
        closed = await self.refresh() + sum(self._lately)
        self._lately.clear()
        return closed

    async def refresh(self) -> int:
        """Know it; how many sockets were closed."""
        async with self._one_at_a_time:
            version = await self._database.read(stored.version)
            if version == self._version:
                return 0
            if version is None:
                _log.warn("the database does not have what was said of registration; the settings decide")
            refused = await self._database.read(_refused)
            self._learn(await self._database.read(self._counting))
            former, self._access.refused, self._version = self._access.refused, refused, version
            leaving = list(self._kept_out(former, refused))
            for account, count in Counter(client.account for client in leaving).items():
                self._events.revoked(account, count)
            for client in leaving:
                client.socket.close()
            return len(leaving)

    async def _counting(self, tx: Transaction) -> Counting:
        return counting(await secrets.known(tx), self._tokens.public_key, tx.now)

    def _learn(self, found: Counting) -> None:
        """Know which secrets' tokens count; say so when the one of this process has been replaced."""
        before = self._tokens.replaced
        self._tokens.learn(found.others, found.until)
        if self._tokens.replaced and not before:
            _log.warn(
                "the master secret was replaced by a later one ({used}): restart this node with that one; "
                "until then vendor tokens are refused here, and logins last until the grace ends",
                event="secret-replaced",
                used=fingerprint(found.used),
            )
        self._look_at_grace()

    def _look_at_grace(self) -> None:
        """Close all sockets when this process's tokens count no longer: they may be in other hands."""
        before, self._void = self._void, self._tokens.void
        if self._void and not before:
            _log.error(
                "tokens of this node's master secret count no more: nobody can log in here until it is "
                "restarted with the one in use",
                event="secret-void",
            )
            self._hub.cut_all()

    def _kept_out(self, former: KeptOut, refused: KeptOut) -> Iterator[Client]:
        """The connected clients that may stay no longer."""
        accounts = set(refused.disabled - former.disabled)
        accounts |= {one for one, at in refused.revoked.items() if at > former.revoked.get(one, at - 1)}
        for account in accounts:
            yield from self._hub.everybody(account)
        new = {id: account for id, account in refused.pairings.items() if id not in former.pairings}
        for account in set(new.values()) - accounts:
            yield from (client for client in self._hub.everybody(account) if client.pairing in new)

    async def _look(self) -> None:
        self._look_at_grace()  # also while the database is away
        self._lately.append(await self.refresh())
        await self.note_refused()
        self._turn += 1
        if self._turn % _NOTING == 0:
            await self.note()

    async def note_refused(self) -> None:
        """Store which unknown keys were refused lately."""
        refused = self._access.take_refused()
        if refused:
            await self._database.transact(lambda tx: registration.note_refused(tx, refused))

    async def note(self) -> None:
        """Store which pairings were seen lately."""
        seen = self._access.take_seen()
        if seen:
            sightings = [
                Sighting(id, one.account, int(one.issued_at * 1000), int(one.seen_at * 1000), one.machine)
                for id, one in seen.items()
            ]
            await self._database.transact(lambda tx: stored.note_seen(tx, sightings))


async def _refused(tx: Transaction) -> KeptOut:
    said = await stored.said(tx)
    return KeptOut(
        disabled=frozenset(one.account for one in said if one.disabled_at is not None),
        revoked={one.account: one.revoked_at // 1000 for one in said if one.revoked_at is not None},
        pairings=await stored.revoked_pairings(tx),
    )
