"""Remote calls between clients of an account (realtime.md B.7)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType

from happy.api.declare import Capability
from happy.api.structs import Body, NonEmpty, stands_for
from happy.capabilities.server import Server
from happy.realtime.pending import RpcFailed, RpcRequest
from happy.socketio.socket import Socket

rpc = Capability("rpc")

NO_METHOD = "Invalid parameters: method is required"
NO_NAME = "Invalid method name"
UNEXPECTED = "Internal error"
LONGEST_METHOD = 1024
"""Characters of a name; real ones are an id and a word or two."""


class MethodOffer(Struct, frozen=True):
    """An offer that was made or withdrawn."""

    method: str


class RegistrationFailed(Struct, frozen=True):
    """Why an offer was neither made nor withdrawn."""

    type: Literal["register", "unregister"]
    error: str


class Offer(Body):
    """``method`` is opaque; by convention ``<machine or session id>:<name>``."""

    method: NonEmpty


class CallRequest(Body):
    """``params`` are any JSON, passed on untouched."""

    method: Annotated[Any, stands_for(NonEmpty)] = None
    params: Raw | UnsetType = UNSET


Offered = Annotated[Any, stands_for(Offer)]
"""What is no offer is answered with an event."""


class CallResult(Struct, frozen=True, omit_defaults=True):
    """``result`` is what the other client answered, if anything; ``error`` says why there is no answer."""

    ok: bool
    result: Raw | UnsetType = UNSET
    error: str | UnsetType = UNSET


rpc.emits("rpc-registered", MethodOffer)
rpc.emits("rpc-unregistered", MethodOffer)
rpc.emits("rpc-error", RegistrationFailed)
rpc.emits("rpc-request", RpcRequest, answer=Any)


def _method(data: Any) -> str | None:
    return _name(data.get("method")) if isinstance(data, dict) else None


def _name(method: Any) -> str | None:
    return method if isinstance(method, str) and 0 < len(method) <= LONGEST_METHOD else None


def _fault(data: Any) -> str:
    """Why there is no method; looking for one in no data at all is an unexpected failure."""
    return UNEXPECTED if data is None else NO_NAME


@rpc.event("rpc-register", acks=False)
async def register(server: Server, socket: Socket, body: Offered) -> None:
    """Offer a method to the account's other clients."""
    method = _method(body)
    if method is None:
        socket.emit("rpc-error", RegistrationFailed("register", _fault(body)))
    elif server.calls.register(socket.program, method):
        socket.emit("rpc-registered", MethodOffer(method))
    else:
        socket.emit("rpc-error", RegistrationFailed("register", "Too many methods"))


@rpc.event("rpc-unregister", acks=False)
async def unregister(server: Server, socket: Socket, body: Offered) -> None:
    """Withdraw a method; withdrawing one that was never offered is no error."""
    method = _method(body)
    if method is None:
        socket.emit("rpc-error", RegistrationFailed("unregister", _fault(body)))
        return
    server.calls.unregister(socket.program, method)
    socket.emit("rpc-unregistered", MethodOffer(method))


@rpc.event(
    "rpc-call",
    invalid={"ok": False, "error": NO_METHOD},
    failure={"ok": False, "error": UNEXPECTED},
)
async def call(server: Server, socket: Socket, body: CallRequest) -> CallResult:
    """Call a method that another client of the account offers; always answered."""
    method = _name(body.method)
    if method is None:
        server.metrics.rpc_calls_total.labels("unknown", "invalid_params").inc()
        return CallResult(ok=False, error=NO_METHOD)
    try:
        calling = server.calls.call(socket.program, method, body.params)
        del body  # It may be large, and the answer may take long.
        answer = await calling
    except RpcFailed as failed:
        return CallResult(ok=False, error=failed.error)
    return CallResult(ok=True, result=answer[0] if answer else UNSET)
