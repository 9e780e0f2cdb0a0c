"""The events on sockets as an AsyncAPI 3.0 document, written from the server's point of view."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Any, Final

from happy import __version__
from happy.api.declare import Capability, Emission, Event
from happy.contract.shapes import Schema, Shapes, alternatives, constant, prose
from happy.realtime.application import MAX_HANDLERS
from happy.realtime.calls import ANSWER_SECONDS, GRACE_SECONDS, MAX_CALLS_IN_FLIGHT, MAX_METHODS
from happy.realtime.handshake import REFUSALS, Credentials
from happy.realtime.parameters import endpoint_settings

_ABOUT = """
Every event between clients and a Happy server, over Socket.IO protocol 5 on Engine.IO protocol 4, by
WebSocket or long polling. A message is the event of its name in the namespace `/`; its payload is the
event's only argument, and a reply is the only argument of the acknowledgement. Events without a reply are
never acknowledged. What clients seal is opaque to the server. Times are milliseconds since the epoch.

`update` events are numbered per account by `seq`, and a socket hears them in that order. Where connection
state recovery is on, as it is by default, `update` and `ephemeral` have a second argument: the offset, a
text. For two minutes, and so much of them, they are kept for clients that lost their connection; who was
away for longer reads over HTTP instead.
"""
_CHANNEL: Final = "events"


def asyncapi(capabilities: Iterable[Capability]) -> dict[str, Any]:
    """The document for what ``capabilities`` declare."""
    groups, shapes = list(capabilities), Shapes()
    messages: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for group in groups:
        for event in group.events:
            operations[f"receive.{event.name}"] = _received(event, group.name, messages, shapes)
        for emission in group.emissions:
            operations[f"send.{emission.name}"] = _sent(emission, group.name, messages, shapes)
    handshake = shapes.schema(Credentials)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Happy server", "version": __version__, "description": prose(_ABOUT)},
        "defaultContentType": "application/json",
        "servers": {"this": _server(handshake)},
        "channels": {_CHANNEL: {"address": "/", "messages": dict(sorted(messages.items()))}},
        "operations": dict(sorted(operations.items())),
        "components": {"schemas": dict(sorted(shapes.components.items()))},
    }


def _server(handshake: Schema) -> dict[str, Any]:
    """Where to connect, with what, and within which limits as they are by default."""
    settings = endpoint_settings()
    return {
        "host": "{host}",
        "variables": {"host": {"default": "localhost:3005"}},
        "pathname": settings.path,
        "protocol": "socket.io",
        "protocolVersion": "5",
        "description": "`x-handshake` describes the auth object of a connection, and why one is refused.",
        "x-handshake": {"auth": handshake, "refusals": list(REFUSALS)},
        "x-limits": {
            "pingIntervalSeconds": settings.ping_interval,
            "pingTimeoutSeconds": settings.ping_timeout,
            "connectTimeoutSeconds": settings.connect_timeout,
            "messageBytes": settings.max_payload,
            "unsentBytes": settings.max_queued_bytes,
            "eventsUnderWay": MAX_HANDLERS,
            "rpcMethods": MAX_METHODS,
            "rpcCallsUnderWay": MAX_CALLS_IN_FLIGHT,
            "rpcGraceSeconds": GRACE_SECONDS,
            "rpcAnswerSeconds": ANSWER_SECONDS,
        },
    }


def _received(event: Event, tag: str, messages: dict[str, Any], shapes: Shapes) -> dict[str, Any]:
    """The operation of a client-to-server event; its messages go into ``messages``."""
    body = event.parameters.get("body")
    messages[event.name] = _message(event.name, None if body is None else shapes.schema(body))
    operation = _operation("receive", event.name, tag, prose(event.handler.__doc__ or ""))
    if event.acks:
        operation["reply"] = _reply(event.name, _answers(event, shapes), messages)
    return operation


def _sent(emission: Emission, tag: str, messages: dict[str, Any], shapes: Shapes) -> dict[str, Any]:
    """The operation of a server-to-client event; its messages go into ``messages``."""
    messages[emission.name] = _message(emission.name, shapes.schema(emission.shape))
    operation = _operation("send", emission.name, tag, "")
    if emission.answer is not None:
        operation["reply"] = _reply(emission.name, shapes.schema(emission.answer), messages)
    return operation


def _answers(event: Event, shapes: Shapes) -> Schema:
    """What an event is acknowledged with; where a function says what is wrong, it keeps to the shapes."""
    returns = event.returns
    options = typing.get_args(returns) if isinstance(returns, types.UnionType) else (returns,)
    found = [shapes.schema(option) for option in options]
    constants = [
        value for value in (event.invalid, event.failure) if value is not None and not callable(value)
    ]
    return alternatives([*found, *map(constant, constants)])


def _operation(action: str, name: str, tag: str, text: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": _reference("channels", _CHANNEL),
        **({"summary": text} if text else {}),
        "tags": [{"name": tag}],
        "messages": [_reference("channels", _CHANNEL, "messages", name)],
    }


def _reply(name: str, schema: Schema, messages: dict[str, Any]) -> dict[str, Any]:
    answer = f"{name}.reply"
    messages[answer] = _message(answer, schema)
    return {
        "channel": _reference("channels", _CHANNEL),
        "messages": [_reference("channels", _CHANNEL, "messages", answer)],
    }


def _message(name: str, payload: Schema | None) -> dict[str, Any]:
    """A message; one without a payload has no argument."""
    return {"name": name, **({} if payload is None else {"payload": payload})}


def _reference(*path: str) -> dict[str, str]:
    return {"$ref": "/".join(("#", *path))}
