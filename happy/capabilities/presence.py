"""Heartbeats and ends of sessions and machines (realtime.md B.6, B.8)."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UnsetType

from happy.api.declare import Caller, Capability
from happy.api.structs import Body, Key, stands_for
from happy.capabilities._truth import truthy
from happy.capabilities.server import Server
from happy.realtime.updates import Activity, devices_of
from happy.storage import presence as storage
from happy.storage.transaction import Transaction

presence = Capability("presence")

LONGEST_ID = 1024
"""Characters of an id; nothing has a longer one, and none is kept to look for it."""


class SessionAlive(Body):
    """``time`` is the client's clock in ms; ``thinking`` is any JSON value, taken for its truth."""

    sid: Key
    time: float
    thinking: Annotated[Any, stands_for(bool | UnsetType)] = None


class SessionEnd(Body):
    sid: Key
    time: float


class MachineAlive(Body):
    machine_id: Key
    time: float


@presence.event("session-alive", acks=False)
async def session_alive(server: Server, caller: Caller, body: SessionAlive) -> None:
    """Keep a session shown as active."""
    if len(body.sid) <= LONGEST_ID:
        await server.presence.session_alive(caller.account, body.sid, body.time, truthy(body.thinking))


@presence.event("machine-alive", acks=False)
async def machine_alive(server: Server, caller: Caller, body: MachineAlive) -> None:
    """Keep a machine shown as online."""
    if len(body.machine_id) <= LONGEST_ID:
        await server.presence.machine_alive(caller.account, body.machine_id, body.time)


@presence.event("session-end", acks=False)
async def session_end(server: Server, caller: Caller, body: SessionEnd) -> None:
    """Show a session as ended, and ignore its late heartbeats."""
    at = server.presence.accepted_time(body.time)
    if at is None or len(body.sid) > LONGEST_ID:
        return
    account, session = caller.account, body.sid
    if not await server.database.read(lambda tx: storage.owns_session(tx, account, session), owner=account):
        return
    await server.presence.stop_session(account, session)

    async def end(tx: Transaction) -> None:
        if await storage.end_session(tx, account, session, at):
            tx.signal(devices_of(account), Activity(id=session, active=False, active_at=at, thinking=False))

    await server.database.transact(end, accounts=[account])
