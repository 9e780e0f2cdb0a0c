"""Answers other than success, raised where they are found and rendered once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class Refusal(Exception):
    """A request that the contract answers with a named error.

    A capability declares one subclass for each answer that it gives, lists it in ``refuses=`` of the
    route, and raises it. Raised inside a transaction, it rolls the transaction back.

    ``status`` is the HTTP status; ``error`` the text of the body ``{"error": ...}``.
    """

    status: ClassVar[int] = 400
    error: ClassVar[str] = "Bad request"

    def body(self) -> Mapping[str, Any]:
        """The JSON object of the answer."""
        return {"error": self.error}


class AccountVanished(Exception):
    """A valid token names an account that has no row any more (http.md 3.5); answered as a failure."""


class Overloaded(Exception):
    """A bounded queue is full: nothing was stored, and trying again later is right."""
