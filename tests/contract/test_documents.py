"""The published contract: complete, valid, and the same in the repository as in the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from happy.capabilities import CAPABILITIES
from happy.contract.asyncapi import asyncapi
from happy.contract.openapi import openapi
from happy.contract.writing import text
from happy.realtime import updates
from happy.realtime.updates import EphemeralBody, UpdateBody

DOCS = Path(__file__).parents[2] / "docs"
WRITTEN = {"openapi": text(openapi(CAPABILITIES)), "asyncapi": text(asyncapi(CAPABILITIES))}
OPENAPI: Any = json.loads(WRITTEN["openapi"])
ASYNCAPI: Any = json.loads(WRITTEN["asyncapi"])


@pytest.mark.parametrize("name", ["openapi", "asyncapi"])
def test_kept(name: str) -> None:
    """The repository holds what the declarations say; ``python -m happy.contract docs`` writes it anew."""
    assert (DOCS / f"{name}.json").read_bytes() == WRITTEN[name]


def test_openapi_is_valid() -> None:
    """The HTTP document is valid OpenAPI 3.1."""
    OpenAPIV31SpecValidator(OPENAPI).validate()


def references(part: Any) -> Iterator[str]:
    """Everything that a document refers to."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for inner in part.values():
            yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def find(document: Any, reference: str) -> Any:
    """What a reference leads to."""
    for step in reference.removeprefix("#/").split("/"):
        document = document[step]
    return document


@pytest.mark.parametrize("document", [OPENAPI, ASYNCAPI], ids=["openapi", "asyncapi"])
def test_references_lead_somewhere(document: Any) -> None:
    """Whatever is referred to is there, and every component is referred to."""
    named = set(references(document))
    for reference in named:
        find(document, reference)
    assert {f"#/components/schemas/{name}" for name in document["components"]["schemas"]} <= named


@pytest.mark.parametrize("document", [OPENAPI, ASYNCAPI], ids=["openapi", "asyncapi"])
def test_schemas_are_valid(document: Any) -> None:
    """Every component is a valid JSON Schema."""
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_endpoint_is_there() -> None:
    """Each route has an operation with a name of its own, a summary, and an answer in case of success."""
    routes = [route for group in CAPABILITIES for route in group.routes]
    operations = [operation for path in OPENAPI["paths"].values() for operation in path.values()]
    assert len(operations) == len(routes)
    assert len({operation["operationId"] for operation in operations}) == len(routes)
    for operation in operations:
        assert operation["summary"]
        assert any(status < "400" for status in operation["responses"]), operation["operationId"]
        assert "500" in operation["responses"]


def test_every_event_is_there() -> None:
    """Each event in either direction has an operation, with a reply where it is acknowledged."""
    received = {event.name: event.acks for group in CAPABILITIES for event in group.events}
    sent = {one.name: one.answer is not None for group in CAPABILITIES for one in group.emissions}
    expected = {f"receive.{name}": acks for name, acks in received.items()}
    expected |= {f"send.{name}": acks for name, acks in sent.items()}
    assert {name: "reply" in one for name, one in ASYNCAPI["operations"].items()} == expected


@pytest.mark.parametrize("base", [UpdateBody, EphemeralBody])
def test_every_body_is_there(base: type) -> None:
    """Whatever the server may send by itself is described."""
    bodies = [one for one in vars(updates).values() if isinstance(one, type) and issubclass(one, base)]
    described = ASYNCAPI["components"]["schemas"]
    assert {f"updates.{body.__name__}" for body in bodies if body is not base} <= set(described)


def operation(path: str, method: str) -> Any:
    return OPENAPI["paths"][path][method]


def test_limits_and_units() -> None:
    """Limits, units and encodings of members are told, under their names on the wire."""
    schemas = OPENAPI["components"]["schemas"]
    session = schemas["sessions.SessionView"]
    assert session["properties"]["createdAt"] == {
        "type": "integer",
        "description": "Milliseconds since the epoch.",
    }
    key = session["properties"]["dataEncryptionKey"]
    assert (key["type"], key["contentEncoding"]) == (["string", "null"], "base64")
    assert schemas["usage.Span"]["properties"]["timestamp"]["description"] == "Seconds since the epoch."
    title = schemas["push.Happening"]["properties"]["title"]
    assert title == {"type": "string", "minLength": 1, "maxLength": 200}
    assert schemas["messages.NewMessages"]["properties"]["messages"]["maxItems"] == 1000
    assert operation("/v1/sessions", "post")["requestBody"]["description"] == "At most 104857600 bytes."
    limit = next(one for one in operation("/v2/sessions", "get")["parameters"] if one["name"] == "limit")
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}
    assert "`nextCursor`" in operation("/v2/sessions", "get")["description"]


def test_what_must_be_there() -> None:
    """Clients may leave out what has a default; the server always sends it."""
    schemas = OPENAPI["components"]["schemas"]
    assert schemas["sessions.OpenSession"]["required"] == ["tag", "metadata"]
    assert schemas["replies.Success"]["required"] == ["success"]
    assert schemas["versions.Advice"]["required"] == ["updateUrl"]
    assert schemas["messages.MessageView"]["properties"]["content"] == {
        "$ref": "#/components/schemas/updates.Encrypted"
    }
    events = ASYNCAPI["components"]["schemas"]
    assert events["rpc.CallRequest"]["required"] == ["method"]
    assert events["presence.SessionAlive"]["required"] == ["sid", "time"]
    assert events["updates.UpdateSession"]["required"] == ["t", "id"]


def test_errors() -> None:
    """Named errors, failures of an endpoint's own and stripped answers are told as they are sent."""
    responses = operation("/v1/sessions/{sessionId}/attachments/{attachmentFile}", "put")["responses"]
    errors = responses["404"]["content"]["application/json"]["schema"]["anyOf"][0]["properties"]["error"]
    assert errors["enum"] == [
        "Direct upload not available in S3 mode",
        "Session not found",
        "Invalid attachment file",
    ]
    failure = operation("/v1/kv", "get")["responses"]["500"]["content"]["application/json"]["schema"]
    assert failure["properties"] == {"error": {"const": "Failed to list items"}}
    path = "/v1/sessions/{sessionId}/attachments/request-download"
    stripped = operation(path, "post")["responses"]["400"]["content"]["application/json"]["schema"]
    assert stripped["anyOf"][0]["properties"]["error"]["enum"] == [
        "Ref does not belong to this session",
        "Invalid attachment ref",
        "Error",
        "SyntaxError",
    ]


def test_who_may_ask() -> None:
    """Operations say what proves who asks."""
    assert operation("/v1/auth", "post")["security"] == []
    assert operation("/v1/sessions", "get")["security"] == [{"bearer": []}]
    upload = operation("/v1/sessions/{sessionId}/attachments/{attachmentFile}", "put")
    assert upload["security"] == [{"bearer": []}, {"signature": []}]
