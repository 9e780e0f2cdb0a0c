"""What a server does when it is told so on its control socket: a function for each path."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from happy.outbound.expo import Notice
from happy.service.control import Impracticable, Instruction
from happy.storage import push_tokens

if TYPE_CHECKING:
    from happy.capabilities.server import Server
    from happy.service.access import AccessRounds
    from happy.service.readiness import Readiness
    from happy.service.status import Status, StatusReport
    from happy.socketio.endpoint import SocketIOEndpoint

_TEST = Notice("Happy", "Notifications of this server arrive.", {})


class Controlled:
    """The parts of a server that instructions are about."""

    def __init__(
        self,
        server: Server,
        status: Status,
        readiness: Readiness,
        endpoint: SocketIOEndpoint,
        access: AccessRounds,
    ) -> None:
        self.server = server
        self.access = access
        self.status = status
        self.readiness = readiness
        self.endpoint = endpoint


async def status(parts: Controlled, members: Mapping[str, Any]) -> StatusReport:
    """How the server is."""
    return await parts.status.report()


async def drain(parts: Controlled, members: Mapping[str, Any]) -> dict[str, int]:
    """Take no new sockets, and be not ready; with ``"draining": false`` take them again."""
    draining = members.get("draining", True)
    if not isinstance(draining, bool):
        raise Impracticable("draining is true or false")
    parts.readiness.draining = draining
    parts.endpoint.admitting = not draining
    return await left(parts, members)


async def left(parts: Controlled, members: Mapping[str, Any]) -> dict[str, int]:
    """How many sockets there are."""
    return {"left": parts.endpoint.count}


async def look(parts: Controlled, members: Mapping[str, Any]) -> dict[str, int]:
    """See at once what the operator has said of accounts; how many sockets were closed.

    Which pairings were seen, and which keys refused, is stored before, for whoever wants to know.
    """
    await parts.access.note()
    await parts.access.note_refused()
    return {"closed": await parts.access.refresh()}


async def push(parts: Controlled, members: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Notify each device of ``account``; what came of each, and after how many ms."""
    account, server, results = members.get("account"), parts.server, []
    if not isinstance(account, str):
        raise Impracticable("account is the id of one")
    tokens = await server.database.read(lambda tx: push_tokens.newest(tx, account, push_tokens.MOST))
    for row in tokens:
        began = server.clock.seconds()
        (delivery,) = await server.expo.send(account, [row.token], _TEST)
        passed = round((server.clock.seconds() - began) * 1000)
        results.append({"token": row.token, "outcome": delivery.error or "sent", "ms": passed})
    return {"results": results}


INSTRUCTIONS = {
    ("GET", "/status"): status,
    ("GET", "/drain"): left,
    ("POST", "/drain"): drain,
    ("POST", "/access"): look,
    ("POST", "/push"): push,
}
"""By method and path what is done."""


def instructions(parts: Controlled) -> dict[tuple[str, str], Instruction]:
    """What the control socket of a server offers."""
    return {path: partial(instruction, parts) for path, instruction in INSTRUCTIONS.items()}
