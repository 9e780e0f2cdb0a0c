"""Questions of the same kind, gathered into few queries: those that come during one share the next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from twisted.internet.defer import Deferred

V = TypeVar("V")
_Waiter = tuple[str, Deferred[V | None]]

LOOKUP_BATCH: Final = 1_000
MAX_WAITING = 20_000
"""Questions that may wait for an answer."""
ACCOUNT_SHARE: Final = 8
"""One account may have an eighth of those."""
LONGEST_ID: Final = 2_048
"""Characters of an id that a row could have: a longer one is not looked up, nor one with a NUL."""


class Lookups(Generic[V]):
    """Looks values up by id.

    ``fetch`` answers those of some ids that exist, or None when it cannot; it must not fail, and must end.
    Then, and for questions that are too many, what is ``known`` of an id has to do; the latter are
    ``refused``.
    """

    def __init__(
        self,
        fetch: Callable[[Sequence[str]], Awaitable[Mapping[str, V] | None]],
        known: Callable[[str], V | None],
        refused: Callable[[], None],
    ) -> None:
        self._fetch = fetch
        self._known = known
        self._refused = refused
        self._open: dict[str, list[_Waiter[V]]] = {}
        self._waiting = 0
        self._waiting_of: dict[str, int] = {}
        self._running = False

    def ask(self, account: str, id: str) -> Deferred[V | None]:
        """The value of an id, asked for on behalf of an account; None when there is none."""
        found: Deferred[V | None] = Deferred()
        if "\0" in id or len(id) > LONGEST_ID:
            found.callback(None)
        elif self._is_full_for(account):
            self._refused()
            found.callback(self._known(id))
        else:
            self._count(account, 1)
            self._open.setdefault(id, []).append((account, found))
            if not self._running:
                self._running = True
                Deferred.fromCoroutine(self._run())
        return found

    def _is_full_for(self, account: str) -> bool:
        own = self._waiting_of.get(account, 0)
        return self._waiting >= MAX_WAITING or own >= MAX_WAITING // ACCOUNT_SHARE

    def _count(self, account: str, change: int) -> None:
        self._waiting += change
        own = self._waiting_of[account] = self._waiting_of.get(account, 0) + change
        if not own:
            del self._waiting_of[account]

    async def _run(self) -> None:
        try:
            while self._open:
                ids = list(self._open)[:LOOKUP_BATCH]
                asked = {id: self._open.pop(id) for id in ids}
                found = await self._fetch(ids)
                if found is not None:
                    self._answer(asked, found.get)
                    continue
                self._answer(asked, self._known)
                # Those who came meanwhile have waited too, and could hardly be told more.
                asked, self._open = self._open, {}
                self._answer(asked, self._known)
        finally:
            self._running = False

    def _answer(self, asked: Mapping[str, list[_Waiter[V]]], value: Callable[[str], V | None]) -> None:
        for id, waiters in asked.items():
            for account, found in waiters:
                self._count(account, -1)
                found.callback(value(id))
