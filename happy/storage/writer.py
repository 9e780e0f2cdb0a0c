"""A writer of messages: one batch after another, each stored exactly once (:mod:`happy.storage.append`)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from happy.base.errors import ConnectionLost, Overloaded, QueryFailed
from happy.storage.append import AppendedRow, AppendRow, append, find_or_give_up

if TYPE_CHECKING:
    from happy.storage.database import Database


class Writer:
    """Appends one batch after another, over whatever connection there is.

    One that works ``aside`` is for what takes long (:meth:`happy.storage.database.Database.apply`).
    ``in_doubt`` tells that nobody knows what became of the batch before: the same one has to be appended
    again, and no other, until that is known.
    """

    def __init__(self, database: Database, *, aside: bool = False) -> None:
        self._database = database
        self._aside = aside
        self._name = secrets.token_hex(8)
        self._numbers = count(1)
        self._unanswered: int | None = None

    @property
    def in_doubt(self) -> bool:
        return self._unanswered is not None

    async def append(self, rows: Sequence[AppendRow]) -> list[AppendedRow]:
        """Store messages, numbering them in their sessions and accounts without gaps; one attempt.

        ``rows`` are sorted by account and session, in order of arrival within a session. Those of unknown
        or foreign sessions are left out of the result.

        Raises ConnectionLost when the answer was lost, and QueryFailed or Overloaded when nothing was
        stored, unless ``in_doubt`` says otherwise.
        """
        apply = partial(self._database.apply, owner=rows[0].account, aside=self._aside)
        if self._unanswered is not None:
            batch = self._unanswered
            stored = await apply(partial(find_or_give_up, writer=self._name, batch=batch, rows=rows))
            self._unanswered = None
            if stored is not None:
                return stored
        self._unanswered = number = next(self._numbers)
        try:
            noted = self._database.notes
            stored = await apply(partial(append, writer=self._name, batch=number, rows=rows, noted=noted))
        except (QueryFailed, Overloaded) as refused:
            if not isinstance(refused, ConnectionLost):
                self._unanswered = None
            raise
        self._unanswered = None
        return stored
