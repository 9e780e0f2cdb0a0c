"""What several features ask about sessions."""

from __future__ import annotations

from happy.api.declare import Caller
from happy.base.errors import Refusal
from happy.capabilities.server import Server
from happy.storage.presence import owns_session


class SessionNotFound(Refusal):
    status = 404
    error = "Session not found"


async def check_owner(server: Server, caller: Caller, session: str) -> None:
    """Raises SessionNotFound for a session that is not the caller's."""
    account = caller.account
    if not await server.database.read(lambda tx: owns_session(tx, account, session), owner=account):
        raise SessionNotFound
