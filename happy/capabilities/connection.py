"""A connection's own affairs: liveness and focus (realtime.md B.6, B.10)."""

from __future__ import annotations

from typing import Any

from happy.capabilities._declare import Capability
from happy.realtime.socket import Socket

connection = Capability("connection")


@connection.event("ping")
async def ping() -> dict[str, Any]:
    """Answer, whatever came with it (D-5)."""
    return {}


@connection.event("app-state", acks=False)
async def app_state(socket: Socket, body: Any) -> None:
    """Remember whether the owner looks at this client; anything but ``active`` means no."""
    socket.program.viewing = isinstance(body, dict) and body.get("state") == "active"
