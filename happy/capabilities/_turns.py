"""Things that are done one after another for an account, so that none of them takes others' places."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from happy.capabilities.server import Server

TURN_SECONDS: Final = 10.0
"""How long one waits for those of its account that came first."""


@asynccontextmanager
async def turn(server: Server, what: str, account: str) -> AsyncIterator[None]:
    """Wait for the account's others of this kind. Raises Overloaded when that takes too long."""
    linearizer = server.database.linearizer
    release = await linearizer.acquire_within(TURN_SECONDS, [f"{what} {account}"], server.clock)
    try:
        yield
    finally:
        release()
