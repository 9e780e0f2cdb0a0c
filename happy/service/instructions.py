"""What a server does when it is told so on its control socket: a function for each path."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from happy.outbound.expo import Notice
from happy.service.control import Impracticable, Instruction, flag
from happy.storage import push_tokens

if TYPE_CHECKING:
    from happy.capabilities.server import Server
    from happy.cluster.orders import Orders
    from happy.service.access import AccessRounds
    from happy.service.readiness import Readiness
    from happy.service.status import Status, StatusReport
    from happy.socketio.endpoint import SocketIOEndpoint

_TEST = Notice("Happy", "Notifications of this server arrive.", {})


class Controlled:
    """The parts of a server, or of a node called ``name``, that instructions are about.

    ``orders`` are for the other nodes, and by them, if there may be any.
    """

    def __init__(
        self,
        server: Server,
        status: Status,
        readiness: Readiness,
        endpoint: SocketIOEndpoint,
        access: AccessRounds,
        name: str,
        orders: Orders | None,
    ) -> None:
        self.name = name
        self.orders = orders
        self.server = server
        self.access = access
        self.status = status
        self.readiness = readiness
        self.endpoint = endpoint


async def status(parts: Controlled, members: Mapping[str, Any]) -> StatusReport:
    """How the server is."""
    return await parts.status.report()


async def drain(parts: Controlled, members: Mapping[str, Any]) -> dict[str, Any]:
    """Take no new sockets, and be not ready; with ``"draining": false`` take them again.

    So do all nodes with ``"everywhere": true``.
    """
    draining = flag(members, "draining", default=True)
    here = _drain(parts, {"draining": draining})
    return await _together(parts, members, "drain", {"draining": draining}, "left", here)


def _drain(parts: Controlled, members: Mapping[str, Any]) -> int:
    draining = bool(members["draining"])
    parts.readiness.draining = draining
    parts.endpoint.admitting = not draining
    return int(parts.endpoint.count)


async def left(parts: Controlled, members: Mapping[str, Any]) -> dict[str, Any]:
    """How many sockets there are."""
    return {"left": parts.endpoint.count}


async def look(parts: Controlled, members: Mapping[str, Any]) -> dict[str, Any]:
    """See at once what the operator has said of accounts; how many sockets were closed.

    Which pairings were seen, and which keys refused, is stored before, for whoever wants to know. All nodes
    do so, unless ``"everywhere"`` is false.
    """
    here = await _look(parts)
    return await _together(parts, {"everywhere": True, **members}, "access", {}, "closed", here)


async def _look(parts: Controlled) -> int:
    await parts.access.note()
    await parts.access.note_refused()
    return await parts.access.look_now()


async def _together(
    parts: Controlled,
    members: Mapping[str, Any],
    order: str,
    about: Mapping[str, Any],
    name: str,
    here: int,
) -> dict[str, Any]:
    """A number from ``here`` and, if ``members`` want it everywhere, from those who get the order too.

    ``name`` is the sum, ``nodes`` has each by its name; ``silent`` are nodes that did not answer.
    """
    found, silent = {parts.name: here}, list[str]()
    if flag(members, "everywhere", default=False) and parts.orders is not None:
        answers, silent = await parts.orders.give(order, about)
        found |= {f"another {node}" if node in found else node: came for node, came in answers.items()}
    return {name: sum(found.values()), "nodes": found, "silent": silent}


async def obey(parts: Controlled, order: str, about: Mapping[str, Any]) -> int | None:
    """Do what another node was asked for; None if this one does not know how."""
    match order:
        case "drain":
            return _drain(parts, about)
        case "access":
            return await _look(parts)
        case _:
            return None


async def push(parts: Controlled, members: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Notify each device of ``account``; what came of each, and after how many ms. Raises Impracticable."""
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
