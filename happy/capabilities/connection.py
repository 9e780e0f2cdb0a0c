"""A connection's own affairs: liveness and focus (realtime.md B.6, B.10)."""

from __future__ import annotations

from typing import Annotated, Any

from happy.api.declare import Capability
from happy.api.structs import Body, Reply, stands_for
from happy.capabilities.server import Server
from happy.realtime.updates import AnyEphemeral, Envelope, EphemeralBody
from happy.socketio.socket import Socket

connection = Capability("connection")


class Pong(Reply):
    """Nothing but an answer."""


class Focus(Body):
    """``state`` is ``active`` while the owner looks at the client, and anything else otherwise."""

    state: str


connection.emits("update", Envelope)
connection.emits("ephemeral", Annotated[EphemeralBody, stands_for(AnyEphemeral)])


@connection.event("ping")
async def ping() -> Pong:
    """Answer, whatever came with it (D-5)."""
    return Pong()


@connection.event("app-state", acks=False)
async def app_state(server: Server, socket: Socket, body: Annotated[Any, stands_for(Focus)]) -> None:
    """Remember whether the owner looks at this client; anything but ``active`` means no."""
    server.hub.look(socket.program, isinstance(body, dict) and body.get("state") == "active")
