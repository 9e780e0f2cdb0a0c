"""What an endpoint answers, by status (http.md 3.6): its replies, its refusals, and what all share."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections import defaultdict
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from happy.api import answers
from happy.api.answers import Answer
from happy.api.declare import Route
from happy.api.pieces import Listing
from happy.api.pipeline import UNAUTHENTICATED, failure_answer
from happy.api.structs import Blob, NamedFile, PlainText, Redirect, Reply
from happy.base.errors import Refusal
from happy.contract.shapes import Schema, Shapes, alternatives, constant, prose

JSON = "application/json"
FAULTS = {
    "Invalid": "The request does not fit.",
    "Malformed": "The body is not JSON.",
    "BadPath": "The path is wrongly percent-encoded.",
    "Unauthorized": "Nothing proves who asks.",
    "Disabled": "The operator keeps the account out.",
    "NotFound": "A path variable is too long.",
    "TooLarge": "The body is larger than the endpoint takes.",
    "Unsupported": "The body is of a media type that is not understood.",
    "HeadTooLarge": "Path, query and headers are larger than 16 KiB.",
    "Busy": "Too much waits for the database; nothing was done.",
}
_BINARY: Schema = {"type": "string", "format": "binary"}


class Content(NamedTuple):
    """One thing that may come with a status. Without a media type there is no body."""

    status: int
    schema: Schema
    media: str | None = JSON
    meaning: str = ""


_PHRASES = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
"""What RFC 9110 calls a status for which Python's name depends on its version."""


def _phrase(status: int) -> str:
    return _PHRASES.get(status) or HTTPStatus(status).phrase


def responses(route: Route, shapes: Shapes) -> dict[str, Any]:
    """The OpenAPI responses of an endpoint."""
    by_status: dict[int, list[Content]] = defaultdict(list)
    for content in [*_replies(route, shapes), *_refusals(route, shapes), *_shared(route, shapes)]:
        by_status[content.status].append(content)
    return {str(status): _response(status, by_status[status]) for status in sorted(by_status)}


def _response(status: int, contents: list[Content]) -> dict[str, Any]:
    meanings = list(dict.fromkeys(content.meaning for content in contents if content.meaning))
    response: dict[str, Any] = {"description": " ".join(meanings) or _phrase(status)}
    media: dict[str, list[Schema]] = defaultdict(list)
    for content in contents:
        if content.media is not None:
            media[content.media].append(content.schema)
    if media:
        response["content"] = {name: {"schema": _merged(found)} for name, found in media.items()}
    if status == HTTPStatus.FOUND:
        response["headers"] = {"Location": {"schema": {"type": "string", "format": "uri"}}}
    return response


def _merged(schemas: list[Schema]) -> Schema:
    """Alternatives, where bodies that are one text each are told as one body with one of the texts."""
    texts = [schema for schema in schemas if _is_text(schema)]
    if len(texts) > 1:
        options = [schema["properties"]["error"]["const"] for schema in texts]
        one = {**texts[0], "properties": {"error": {"enum": list(dict.fromkeys(options))}}}
        schemas = [one, *(schema for schema in schemas if schema not in texts)]
    return alternatives(schemas)


def _is_text(schema: Schema) -> bool:
    properties = schema.get("properties", {})
    return list(properties) == ["error"] and "const" in properties["error"]


def _replies(route: Route, shapes: Shapes) -> list[Content]:
    returns = route.returns
    if typing.get_origin(returns) is Listing:
        (returns,) = typing.get_args(returns)
    options = typing.get_args(returns) if isinstance(returns, types.UnionType) else (returns,)
    return [content for option in options for content in _reply(option, shapes)]


def _reply(reply: Any, shapes: Shapes) -> list[Content]:
    """What one type of a handler's return values becomes, as ``happy.api.answers.answer_of`` does it."""
    if not isinstance(reply, type):
        return [Content(200, shapes.schema(reply))]
    if issubclass(reply, NamedFile):
        return [Content(200, _BINARY, "*/*"), Content(206, _BINARY, "*/*"), Content(416, {}, None)]
    if issubclass(reply, Blob):
        return [Content(200, _BINARY, "application/octet-stream")]
    if issubclass(reply, PlainText):
        return [Content(_default(reply, "status"), {"type": "string"}, "text/plain")]
    if issubclass(reply, Redirect):
        return [Content(_default(reply, "status"), {}, None)]
    return [Content(reply.status if issubclass(reply, Reply) else 200, shapes.schema(reply))]


def _default(cls: type, name: str) -> Any:
    return next(field.default for field in dataclasses.fields(cls) if field.name == name)


def _refusals(route: Route, shapes: Shapes) -> list[Content]:
    return [
        Content(refusal.status, refusal_schema(refusal, shapes), meaning=prose(refusal.__doc__ or ""))
        for refusal in route.refuses
    ]


def refusal_schema(refusal: type[Refusal], shapes: Shapes) -> Schema:
    """The body of a refusal."""
    return constant(refusal().body()) if refusal.shape is None else shapes.schema(refusal.shape)


def _shared(route: Route, shapes: Shapes) -> list[Content]:
    """The answers that the pipeline and the site give of their own accord."""
    found = [Content(status, schema, meaning=FAULTS[name]) for name, status, schema in _faults(route, shapes)]
    failure = _constant(failure_answer(route))
    if route.failure is None and 500 not in route.strips:
        failure = shapes.named("faults.Failure", failure)
    return [*found, Content(500, failure, meaning="An unexpected error.")]


def _faults(route: Route, shapes: Shapes) -> Iterator[tuple[str, int, Schema]]:
    """Name, status and schema of each fault that a request to ``route`` may have."""
    possible = {
        "Invalid": _is_checked(route) and answers.invalid(""),
        "Unauthorized": not route.public and answers.unauthorized(""),
        "Disabled": not route.public and answers.disabled(),
        "NotFound": bool(route.variables) and answers.not_found("", route.method),
        "Malformed": route.method != "GET" and answers.malformed(""),
        "TooLarge": route.method != "GET" and answers.too_large(),
        "Unsupported": route.method != "GET" and answers.unsupported(""),
        "HeadTooLarge": answers.headers_too_large(),
        "Busy": answers.overloaded(),
    }
    for name, fault in possible.items():
        if fault:
            schema = _constant(fault.answer(route.strips), free=("message", "path", "method"))
            if name == "Unauthorized":
                schema["properties"]["error"] = {"enum": list(UNAUTHENTICATED)}
            stripped = fault.status in route.strips
            yield name, fault.status, schema if stripped else shapes.named(f"faults.{name}", schema)
    if route.variables:
        bad = _constant(answers.bad_path(""), free=("message",))
        yield "BadPath", 400, shapes.named("faults.BadPath", bad)


def _is_checked(route: Route) -> bool:
    """Whether a request may fail to fit the declaration."""
    if {"body", "content", "query", "headers"} & set(route.parameters):
        return True
    return any(route.parameters[variable] is not str for variable in route.variables)


def _constant(answer: Answer, free: tuple[str, ...] = ()) -> Schema:
    assert isinstance(answer.content, bytes)
    return constant(msgspec.json.decode(answer.content), free)
