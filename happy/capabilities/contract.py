"""The machine-readable contract, for whoever writes a client: what this server offers, as it is set up."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Raw

from happy.api.declare import Capability
from happy.api.structs import stands_for
from happy.capabilities.server import Server

Document = Annotated[Raw, stands_for(dict[str, Any])]

contract = Capability("contract")


@contract.get("/.well-known/happy/openapi.json", public=True)
async def openapi(server: Server) -> Document:
    """The HTTP endpoints as an OpenAPI document."""
    return Raw(await server.documents.openapi())


@contract.get("/.well-known/happy/asyncapi.json", public=True)
async def asyncapi(server: Server) -> Document:
    """The events on sockets as an AsyncAPI document."""
    return Raw(await server.documents.asyncapi())
