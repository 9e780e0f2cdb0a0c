"""Answers other than success, raised where they are found and rendered once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class Refusal(Exception):
    """A request that the contract answers with a named error.

    A capability declares one subclass for each answer that it gives, lists it in ``refuses=`` of the
    route, and raises it. Raised inside a transaction, it rolls the transaction back.

    ``status`` is the HTTP status; ``error`` the text of the body ``{"error": ...}``. A subclass whose
    body depends on the case names its ``shape``.
    """

    status: ClassVar[int] = 400
    error: ClassVar[str] = "Bad request"
    shape: ClassVar[type[Any] | None] = None

    def body(self) -> Mapping[str, Any]:
        """The JSON object of the answer."""
        return {"error": self.error}


class AccountDisabled(Refusal):
    """The operator keeps the account out."""

    status = 403
    error = "Account is disabled"


class AccountVanished(Exception):
    """A valid token names an account that has no row any more (http.md 3.5); answered as a failure."""


class Overloaded(Exception):
    """A bounded queue is full: nothing was stored, and trying again later is right."""


class ChangedMeanwhile(Exception):
    """A stored value became another one, or vanished, while it was being read in pieces."""


class TooLarge(Exception):
    """A stored value is too large for where it was asked for, which takes only the whole of it."""


class StartupError(Exception):
    """The server cannot start; the message is one readable line for the operator."""


class DatabaseDown(Exception):
    """PostgreSQL could not be reached within the time a caller may wait; nothing was changed."""


class OutcomeUnknown(DatabaseDown):
    """PostgreSQL went away during a commit, and the server stopped before it could be asked."""


FOREIGN_KEY = "23503"
NUL_IN_TEXT = "22021"
# U+0000 in a text or in JSON, a number too large, a key too long for its index
_UNSTORABLE = (NUL_IN_TEXT, "22P05", "22003", "54000")


IN_WORDS = {
    "25006": "it takes no changes, as a standby or what is set to read-only",
    "42501": "the role may not do that",
    "42P01": "it lacks a table",
    "53100": "its disk is full",
}
"""What some SQLSTATEs of PostgreSQL mean that an operator can mend."""


class QueryFailed(Exception):
    """PostgreSQL refused a statement.

    Carries the five-character ``sqlstate`` and the violated ``constraint``, and deliberately neither
    the server's message nor the statement: both quote values that clients sent.
    """

    def __init__(self, sqlstate: str | None, constraint: str | None = None) -> None:
        named = f" ({constraint})" if constraint else ""
        words = f", {IN_WORDS[sqlstate]}" if sqlstate in IN_WORDS else ""
        super().__init__(f"PostgreSQL refused a statement: {sqlstate or 'no state'}{named}{words}")
        self.sqlstate = sqlstate
        self.constraint = constraint

    @property
    def ownerless(self) -> bool:
        """Whether it was for something of an account that does not exist, or not any more."""
        return self.sqlstate == FOREIGN_KEY and (self.constraint or "").endswith("ccountId_fkey")

    @property
    def unstorable(self) -> bool:
        """Whether it was for a value that PostgreSQL cannot hold, which a client may send (http.md 3.9)."""
        return self.sqlstate in _UNSTORABLE


class ConnectionLost(QueryFailed):
    """The connection to PostgreSQL broke, or could not be made.

    ``reason`` is why connecting failed, in libpq's words; empty for a connection that broke. ``hopeless``
    tells that it will fail again until somebody changes something.
    """

    def __init__(self, sqlstate: str | None, reason: str = "", *, hopeless: bool = False) -> None:
        super().__init__(sqlstate)
        self.reason = reason
        self.hopeless = hopeless
