"""Sealing of credentials while the master secret is being changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from happy.keys.tokens import SecretReplaced
from happy.storage import secrets

if TYPE_CHECKING:
    from happy.keys.tokens import Tokens
    from happy.storage.transaction import Transaction


async def must_be_in_use(tx: Transaction, tokens: Tokens, *, hold: bool = False) -> None:
    """Raise SecretReplaced when another master secret is in use than the one of this process.

    With ``hold`` it stays in use until the transaction ends, so what that stores is sealed anew when it goes.
    """
    if await secrets.replaced(tx, tokens.public_key, hold=hold):
        raise SecretReplaced
