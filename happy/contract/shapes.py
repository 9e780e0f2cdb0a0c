"""Types as JSON Schema.

What clients send is described as what is accepted, so a member with a default need not be there; what
the server sends as what it always sends, so a member is missing only where its type says so.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import NODEFAULT, UnsetType
from msgspec import inspect as kinds

from happy.api.structs import Body, Headers, Query

Schema = dict[str, Any]

_INCOMING = (Body, Query, Headers)
_RANGE = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_REFERENCE = re.compile(r"\s*\((?:D-?\d+\w?|T-\d+|[\w-]+\.md [^)]*)\)")
_LENGTH = {"min_length": "minLength", "max_length": "maxLength"}
_COUNT = {"min_length": "minItems", "max_length": "maxItems"}
_SIMPLE: Mapping[type[kinds.Type], Schema] = {
    kinds.BoolType: {"type": "boolean"},
    kinds.NoneType: {"type": "null"},
    kinds.AnyType: {},
    kinds.RawType: {},
}


class Shapes:
    """Makes schemas. Those of Structs become ``components``, which the others refer to below ``prefix``."""

    def __init__(self, prefix: str = "#/components/schemas/") -> None:
        self.components: dict[str, Schema] = {}
        self._prefix = prefix

    def schema(self, type: Any) -> Schema:
        """The schema of anything that has a place in a declaration."""
        return self._schema(kinds.type_info(type))

    def named(self, name: str, schema: Schema) -> Schema:
        """A reference to ``schema``, which becomes a component."""
        self.components[name] = schema
        return {"$ref": self._prefix + name}

    def members(self, struct: Any) -> list[tuple[str, Schema, bool]]:
        """The wire name of every member of a Struct, its schema, and whether it must be there."""
        info = kinds.type_info(struct)
        assert isinstance(info, kinds.StructType)
        return [
            (member.encode_name, self._member(member), _is_required(info.cls, member))
            for member in info.fields
        ]

    def _schema(self, info: kinds.Type) -> Schema:
        match info:
            case kinds.Metadata():
                return self._annotated(info)
            case kinds.UnionType():
                return self._union(info)
            case kinds.StructType():
                return self._reference(info)
            case kinds.DictType():
                values = self._schema(info.value_type)
                return {"type": "object", **({"additionalProperties": values} if values else {})}
            case kinds.ListType():
                length = _bounds(info, _COUNT)
                return {"type": "array", "items": self._schema(info.item_type), **length}
            case kinds.LiteralType():
                return _one_of(info.values)
            case kinds.StrType():
                return _text(info)
            case kinds.IntType():
                return {"type": "integer", **_bounds(info, _RANGE)}
            case kinds.FloatType():
                return {"type": "number", **_bounds(info, _RANGE)}
            case _:
                return dict(_SIMPLE[type(info)])

    def _annotated(self, info: kinds.Metadata) -> Schema:
        if info.extra and "shape" in info.extra:
            return self.schema(info.extra["shape"])
        return beside(self._schema(info.type), info.extra_json_schema or {})

    def _union(self, info: kinds.UnionType) -> Schema:
        """Alternatives; a whole number is a number."""
        options = list(info.types)
        if any(isinstance(option, kinds.FloatType) for option in options):
            options = [option for option in options if not isinstance(option, kinds.IntType)]
        return alternatives([self._schema(option) for option in options])

    def _reference(self, info: kinds.StructType) -> Schema:
        name = component_name(info.cls)
        if name not in self.components:
            self.components[name] = {}  # a Struct may hold itself
            self.components[name] = self._object(info)
        return {"$ref": self._prefix + name}

    def _object(self, info: kinds.StructType) -> Schema:
        schema: Schema = {"type": "object"}
        if info.cls.__doc__:
            schema["description"] = prose(info.cls.__doc__, [info.cls])
        properties, required = {}, []
        if info.tag_field is not None:
            properties[info.tag_field] = {"const": info.tag}
            required.append(info.tag_field)
        for name, member, needed in self.members(info.cls):
            properties[name] = member
            required += [name] * needed
        return schema | {"properties": properties} | ({"required": required} if required else {})

    def _member(self, member: kinds.Field) -> Schema:
        schema = self._schema(member.type)
        if member.default in (NODEFAULT, None) or "const" in schema:
            return schema
        return beside(schema, {"default": member.default})


def component_name(cls: type) -> str:
    """The name of a Struct's schema: its module and its own name."""
    return f"{cls.__module__.rpartition('.')[2].lstrip('_')}.{cls.__name__}"


def beside(schema: Schema, more: Schema) -> Schema:
    """``schema`` with further keywords. What refers to a component is wrapped, since some tools ignore
    everything beside a reference."""
    if not more:
        return schema
    return {"allOf": [schema], **more} if "$ref" in schema else {**schema, **more}


def alternatives(schemas: Iterable[Schema]) -> Schema:
    """What fits any of the schemas, without repetitions."""
    distinct: list[Schema] = []
    for schema in schemas:
        if schema not in distinct:
            distinct.append(schema)
    if len(distinct) == 1:
        return distinct[0]
    if len(distinct) == 2 and distinct[1] == {"type": "null"} and isinstance(distinct[0].get("type"), str):
        return {**distinct[0], "type": [distinct[0]["type"], "null"]}
    return {"anyOf": distinct}


def constant(value: Any, free: Iterable[str] = ()) -> Schema:
    """The schema of exactly this value; the members named in ``free`` may be any text."""
    plain = msgspec.to_builtins(value)
    if not isinstance(plain, dict):
        return {"const": plain}
    properties = {name: {"type": "string"} if name in free else constant(plain[name]) for name in plain}
    return {"type": "object", "properties": properties, **({"required": list(plain)} if plain else {})}


def prose(text: str, structs: Iterable[type] = ()) -> str:
    """A docstring as Markdown, with the members of ``structs`` called as on the wire.

    References to the specification are left out.
    """
    names = {
        member.name: member.encode_name for struct in structs for member in msgspec.structs.fields(struct)
    }
    text = _REFERENCE.sub("", text)
    text = re.sub(r":\w+:`[.~]?([^`]*)`", r"``\1``", text)
    text = re.sub(r"``([^`]*)``", lambda match: f"`{names.get(match[1], match[1])}`", text)
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return "\n\n".join(paragraphs).strip()


def _is_required(cls: type[msgspec.Struct], member: kinds.Field) -> bool:
    extra = member.type.extra if isinstance(member.type, kinds.Metadata) else None
    if extra and "shape" in extra:
        return UnsetType not in typing.get_args(extra["shape"])
    if issubclass(cls, _INCOMING) or cls.__struct_config__.omit_defaults:
        return member.required
    # A default of UNSET, by which a member is left out, is not shown here.
    return member.required or not member.default is member.default_factory is NODEFAULT


def _one_of(values: Iterable[Any]) -> Schema:
    options = list(values)
    return {"const": options[0]} if len(options) == 1 else {"enum": options}


def _text(info: kinds.StrType) -> Schema:
    schema: Schema = {"type": "string", **_bounds(info, _LENGTH)}
    if info.pattern is not None:
        schema["pattern"] = info.pattern.replace(r"\Z", "$")
    return schema


def _bounds(info: Any, names: Mapping[str, str]) -> Schema:
    bounds = {keyword: getattr(info, name) for name, keyword in names.items()}
    return {keyword: bound for keyword, bound in bounds.items() if bound is not None}
