"""Requests and events made from what is declared: what fits, what nearly fits, and what does not at all.

Values are plain JSON. Texts like ``{session}`` stand for ids that are only known when the test runs.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import strategies as st
from msgspec import UnsetType
from msgspec import inspect as shapes

from happy.api.declare import Route
from tests import nasty
from tests.strategies import wild_json_values

IDS = ("{account}", "{session}", "{machine}", "{artifact}", "{stranger}", "{foreign}", "{token}")
NASTY = ("\ud800", *nasty.NASTY)
NUMBERS = (0, 1, -1, 2**31 - 1, 2**31, -(2**31) - 1, 2**53, 2**63, 10**30, 0.5, 1.0, -0.0, 1e15, 1e308)

texts = st.sampled_from(IDS + NASTY) | st.text(st.characters(exclude_categories=()), max_size=12)
numbers = st.sampled_from(NUMBERS) | st.integers(-3, 10)
junk = numbers | texts | wild_json_values | st.sampled_from([None, True, [], {}, [[]], {"a": None}])


@functools.cache
def fitting(shape: Any) -> st.SearchStrategy[Any]:
    """Values of the declared types, though not always within their limits."""
    return _fitting(shapes.type_info(shape))


def _fitting(info: shapes.Type) -> st.SearchStrategy[Any]:
    make = _MAKERS.get(type(info))
    return junk if make is None else make(info)


def _annotated(info: shapes.Metadata) -> st.SearchStrategy[Any]:
    meant = (info.extra or {}).get("shape")
    return _fitting(info.type) if meant is None else fitting(meant)


def _union(info: shapes.UnionType) -> st.SearchStrategy[Any]:
    return st.one_of([_fitting(option) for option in info.types if not _is_unset(option)])


def _is_unset(info: shapes.Type) -> bool:
    return isinstance(info, shapes.CustomType) and info.cls is UnsetType


def _struct(info: shapes.StructType) -> st.SearchStrategy[Any]:
    members = {field.encode_name: _fitting(field.type) for field in info.fields}
    needed = {field.encode_name for field in info.fields if field.required}
    return st.fixed_dictionaries(
        {name: values for name, values in members.items() if name in needed},
        optional={name: values for name, values in members.items() if name not in needed},
    )


_MAKERS: Mapping[type, Callable[[Any], st.SearchStrategy[Any]]] = {
    shapes.Metadata: _annotated,
    shapes.UnionType: _union,
    shapes.StructType: _struct,
    shapes.StrType: lambda info: texts,
    shapes.IntType: lambda info: st.integers(-1, 5) | numbers,
    shapes.FloatType: lambda info: st.floats(allow_nan=False, allow_infinity=False) | numbers,
    shapes.BoolType: lambda info: st.booleans(),
    shapes.NoneType: lambda info: st.none(),
    shapes.ListType: lambda info: st.lists(_fitting(info.item_type), max_size=3),
    shapes.DictType: lambda info: st.dictionaries(texts, _fitting(info.value_type), max_size=3),
    shapes.LiteralType: lambda info: st.sampled_from(list(info.values)),
}


@st.composite
def spoiled(draw: st.DrawFn, shape: Any) -> Any:
    """A value that fits but for one member, which is missing or something else."""
    value = draw(fitting(shape))
    if not isinstance(value, dict) or not value:
        return draw(junk)
    name = draw(st.sampled_from(sorted(value)))
    rest = {key: item for key, item in value.items() if key != name}
    return rest if draw(st.booleans()) else rest | {name: draw(junk)}


def values(shape: Any) -> st.SearchStrategy[Any]:
    """Anything a client may come up with where ``shape`` is declared."""
    return fitting(shape) | spoiled(shape) | junk


def arguments(shape: Any) -> st.SearchStrategy[list[Any]]:
    """The arguments of an event that is declared to carry ``shape``, or nothing if that is None."""
    data = junk if shape is None else values(shape)
    return st.lists(junk, max_size=2).flatmap(
        lambda surplus: data.map(lambda first: [first, *surplus]) | st.just([])
    )


segments = st.sampled_from(IDS) | st.sampled_from([*NASTY[:-1], "x" * 101]) | st.text(max_size=8)
"""Path variables."""

query_texts = st.sampled_from(
    [*IDS, *NASTY[:-1], "0", "-1", "1e2", "0x10", " 7 ", "1e15", "2147483648", "9" * 40, "NaN", "cursor_v1_x"]
) | st.text(max_size=6)


def _text(value: str) -> str:
    """What UTF-8 can carry of it."""
    return value.encode("utf-8", "replace").decode()


@st.composite
def targets(draw: st.DrawFn, route: Route) -> str:
    """A path that leads to the route, and a query."""
    given = {name: quote(_text(draw(segments)), safe="{}") for name in route.variables}
    parts = [_segment(part, given) for part in route.path.split("/")]
    members = st.tuples(st.sampled_from(_query_names(route)), query_texts)
    query = draw(st.lists(members, max_size=3))
    return "/".join(parts) + "?" + urlencode([(name, _text(value)) for name, value in query], safe="{}")


def _segment(part: str, given: Mapping[str, str]) -> str:
    if part == "*":
        return given["rest"]
    names = {name.replace("_", ""): text for name, text in given.items()}
    return names[part[1:].lower()] if part.startswith(":") else part


def _query_names(route: Route) -> list[str]:
    shape = route.parameters.get("query")
    info = None if shape is None else shapes.type_info(shape)
    declared = [field.encode_name for field in info.fields] if isinstance(info, shapes.StructType) else []
    return [*declared, *declared, "surplus"]


def bodies(route: Route) -> st.SearchStrategy[bytes]:
    """JSON for the route's body, now and then something that is no JSON; nothing where none is read."""
    if route.method == "GET":
        return st.just(b"")
    declared = route.parameters.get("body")
    whole = (junk if declared is None else values(declared)).map(as_json)
    return st.sampled_from([b"", b"{", b"\xff", b"[" * 2000, b'{"a":NaN}']) | whole | whole | whole


def as_json(value: Any) -> bytes:
    """JSON in which lone surrogates are escapes, as ECMAScript writes them."""
    return json.dumps(value).encode()
