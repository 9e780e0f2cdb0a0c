"""Where JSON comes in, read from the contract that the server publishes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

DOCUMENTS = ("/.well-known/happy/openapi.json", "/.well-known/happy/asyncapi.json")


class Door(NamedTuple):
    """An endpoint with a body. ``lists`` and ``members`` are the names in it that hold arrays, and all."""

    method: str
    path: str
    public: bool
    largest: int
    lists: tuple[str, ...]
    members: tuple[str, ...]

    def at(self, **ids: str) -> str:
        """The path with an id for each variable; ``x`` for those not given."""
        return re.sub(r"\{(\w+)\}", lambda name: ids.get(name[1], "x"), self.path)


def doors(document: Mapping[str, Any]) -> list[Door]:
    """Every endpoint of an OpenAPI document that reads JSON."""
    return list(_doors(document))


def _doors(document: Mapping[str, Any]) -> Iterator[Door]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {})
            schema = body.get("content", {}).get("application/json", {}).get("schema")
            if schema is None:
                continue
            members = _resolved(document, schema).get("properties", {})
            lists = tuple(name for name, one in members.items() if _holds(document, one, "array"))
            size = re.search(r"\d{4,}", body.get("description", ""))
            yield Door(
                method.upper(),
                path,
                not operation.get("security"),
                int(size[0]) if size else 1 << 20,
                lists,
                tuple(members),
            )


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        schema = document["components"]["schemas"][name]
    return schema


def _holds(document: Mapping[str, Any], schema: Mapping[str, Any], kind: str) -> bool:
    schema = _resolved(document, schema)
    return schema.get("type") == kind or any(
        _holds(document, one, kind) for one in schema.get("anyOf", ()) if "$ref" not in one
    )


def events(document: Mapping[str, Any]) -> list[str]:
    """The events that an AsyncAPI document lets clients send."""
    operations = document["operations"].values()
    sent = [one for one in operations if one["action"] == "receive"]
    return sorted({ref["$ref"].rpartition("/")[2] for one in sent for ref in one["messages"]})
