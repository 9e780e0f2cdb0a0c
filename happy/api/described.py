"""What a declared type says of itself: its members, its alternatives, and what its parts are bound by."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import inspect as shapes

LONGEST_KEY: Final = 16 * 1024
"""Characters of what clients call things by, far beyond what is stored (http.md 3.9); of whatever kind."""

T = TypeVar("T")

ArrayType = shapes.ListType | shapes.VarTupleType
NumberType = shapes.IntType | shapes.FloatType
Options = dict[frozenset[Any], tuple[Any, ...]]


def _cached(function: Callable[[Any], T]) -> Callable[[Any], T]:
    return functools.cache(function)


@_cached
def describe(type: Any) -> shapes.Type:
    """What msgspec knows of a type."""
    return shapes.type_info(type)


def options_of(info: shapes.Type) -> tuple[shapes.Type, ...]:
    """The alternatives of a type: itself, if it is no union."""
    if isinstance(info, shapes.Metadata):
        return options_of(info.type)
    if isinstance(info, shapes.UnionType):
        return tuple(option for part in info.types for option in options_of(part))
    return (info,)


@_cached
def member_names(type: Any) -> tuple[str, ...]:
    """The members of a Struct type as they are called on the wire."""
    return tuple(member.encode_name for member in _members(type))


@_cached
def numeric_members(type: Any) -> frozenset[str]:
    """The wire names of a Struct type's numeric members."""
    return frozenset(
        member.encode_name
        for member in _members(type)
        if any(isinstance(option, NumberType) for option in options_of(member.type))
    )


@_cached
def key_members(type: Any) -> frozenset[str]:
    """The attributes of a Struct type that are, or hold, texts of at most :data:`LONGEST_KEY`."""
    return frozenset(
        member.name
        for member in _members(type)
        if any(
            isinstance(part, shapes.StrType) and part.max_length == LONGEST_KEY
            for part in _parts(member.type)
        )
    )


@_cached
def counts_utf16(type: Any) -> bool:
    """Whether a text in ``type`` has a greatest length of the contract's, which is in UTF-16 code units.

    The typed decoder counts code points instead and lets too much pass.
    """
    return any(
        isinstance(part, shapes.StrType) and part.max_length not in (None, LONGEST_KEY)
        for part in _parts(describe(type))
    )


def _members(type: Any) -> tuple[shapes.Field, ...]:
    info = describe(type)
    if not isinstance(info, shapes.StructType):
        raise TypeError(f"{type!r} is not a Struct")
    return info.fields


def _parts(info: shapes.Type, within: frozenset[object] = frozenset()) -> Iterator[shapes.Type]:
    """Every alternative of ``info``, and everything inside of it."""
    for option in options_of(info):
        yield option
        if isinstance(option, ArrayType):
            yield from _parts(option.item_type, within)
        elif isinstance(option, shapes.DictType):
            yield from _parts(option.value_type, within)
        elif isinstance(option, shapes.StructType) and option.cls not in within:
            for member in option.fields:
                yield from _parts(member.type, within | {option.cls})


@_cached
def declared_options(type: Any) -> Options:
    """Every enumeration in ``type`` with its values as declared; msgspec's description sorts them."""
    return {frozenset(values): values for values in _literals(type, frozenset())}


def _literals(hint: Any, within: frozenset[Any]) -> Iterator[tuple[Any, ...]]:
    if typing.get_origin(hint) is Literal:
        yield typing.get_args(hint)
        return
    for part in typing.get_args(hint):
        yield from _literals(part, within)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and hint not in within:
        for member in typing.get_type_hints(hint, include_extras=True).values():
            yield from _literals(member, within | {hint})
