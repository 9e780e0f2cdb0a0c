"""The HTTP endpoints as an OpenAPI 3.1 document."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from happy import __version__
from happy.api.declare import LONGEST_VARIABLE, Capability, Route
from happy.contract.answers import JSON, responses
from happy.contract.shapes import Schema, Shapes, prose

_BINARY = "application/octet-stream"
_ABOUT = """
Every endpoint of a Happy server. What clients seal is opaque to it: those texts are stored and handed on
as they are. Times are milliseconds since the epoch unless a member says otherwise; lengths of texts are
counted in UTF-16 code units; unknown members of requests are ignored. A request is checked before its
sender is authenticated. `HEAD` works wherever `GET` does, and every origin may ask (CORS). A path that is
wrongly percent-encoded is answered with 400, an unknown one with 404, a head beyond 16 KiB with 431.
"""


def openapi(capabilities: Iterable[Capability]) -> dict[str, Any]:
    """The document for what ``capabilities`` declare."""
    groups, shapes = list(capabilities), Shapes()
    paths: dict[str, dict[str, Any]] = {}
    for group in groups:
        for route in group.routes:
            operations = paths.setdefault(_template(route), {})
            operations[route.method.lower()] = _operation(group, route, shapes)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Happy server", "version": __version__, "description": prose(_ABOUT)},
        "servers": [{"url": "/"}],
        "tags": [{"name": group.name} for group in groups if group.routes],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(shapes.components.items())),
            "securitySchemes": _security_schemes(),
        },
    }


def _template(route: Route) -> str:
    """The path with its variables in braces; what a final ``*`` stands for is ``rest``."""
    return re.sub(r":([A-Za-z]+)", r"{\1}", re.sub(r"\*$", "{rest}", route.path))


def _operation(group: Capability, route: Route, shapes: Shapes) -> dict[str, Any]:
    structs = [route.parameters[name] for name in ("query", "headers") if name in route.parameters]
    described = [prose(struct.__doc__, [struct]) for struct in structs if struct.__doc__]
    summary, *further = prose(route.handler.__doc__ or "").split("\n\n")
    operation: dict[str, Any] = {
        "operationId": f"{group.name}.{route.handler.__name__}",
        "tags": [group.name],
        "summary": summary,
    }
    if text := "\n\n".join([*further, *described]):
        operation["description"] = text
    if parameters := [*_variables(route, shapes), *_members(route, shapes)]:
        operation["parameters"] = parameters
    if body := _body(route, shapes):
        operation["requestBody"] = body
    return operation | {"responses": responses(route, shapes), "security": _security(route)}


def _variables(route: Route, shapes: Shapes) -> list[dict[str, Any]]:
    names = re.findall(r"\{(\w+)\}", _template(route))
    found = []
    for name, variable in zip(names, route.variables, strict=True):
        schema: Schema = shapes.schema(route.parameters[variable])
        if schema == {"type": "string"}:
            schema["maxLength"] = LONGEST_VARIABLE
        found.append({"name": name, "in": "path", "required": True, "schema": schema})
    return found


def _members(route: Route, shapes: Shapes) -> list[dict[str, Any]]:
    places = [(name, place) for name, place in (("query", "query"), ("headers", "header"))]
    return [
        {"name": name, "in": place, "required": required, "schema": schema}
        for parameter, place in places
        if parameter in route.parameters
        for name, schema, required in shapes.members(route.parameters[parameter])
    ]


def _body(route: Route, shapes: Shapes) -> dict[str, Any] | None:
    size = f"At most {route.limit} bytes."
    if "content" in route.parameters:
        binary = {"type": "string", "format": "binary"}
        return {"required": True, "description": size, "content": {_BINARY: {"schema": binary}}}
    if "body" not in route.parameters:
        return None
    schema = shapes.schema(route.parameters["body"])
    return {"required": True, "description": size, "content": {JSON: {"schema": schema}}}


def _security(route: Route) -> list[dict[str, Any]]:
    if route.public:
        return []
    return [{"bearer": []}, *([{"signature": []}] if route.proof is not None else [])]


def _security_schemes() -> dict[str, Any]:
    signature = "Part of an address that the server gave; works for 15 minutes, one method and one file."
    return {
        "bearer": {"type": "http", "scheme": "bearer", "description": "The token that a login answered."},
        "signature": {"type": "apiKey", "in": "query", "name": "signature", "description": signature},
    }
