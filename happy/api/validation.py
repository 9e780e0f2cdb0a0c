"""Every problem of a plain value, in the contract's words (http.md 3.4).

The typed decoder of msgspec says what the first fault is, in words of its own. Here the type's
description is walked beside the value instead, and each fault becomes a :class:`Problem`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import inspect as shapes

from happy.api.described import ArrayType, NumberType, Options, declared_options, describe, options_of

SAFE: Final = 2**53 - 1
"""The largest whole number that a client's floating point numbers represent exactly."""

UUID_PATTERN: Final = (
    r"^(?:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}"
    r"|0{8}-0{4}-0{4}-0{4}-0{12}|[fF]{8}-[fF]{4}-[fF]{4}-[fF]{4}-[fF]{12})\Z"
)

MOST_PROBLEMS: Final = 100
MOST_TEXT: Final = 4096
"""Problems, and characters of their texts, that are listed; what follows is not looked for."""

_LONGEST_NAME: Final = 100  # of what is repeated

_Path = tuple[str | int, ...]


class Problem(NamedTuple):
    """One thing that is wrong; ``path`` leads from the group (``body``, ``params``, ...) to the place."""

    path: _Path
    text: str

    def __str__(self) -> str:
        group, *rest = map(str, self.path)
        return f"{group}/{'/'.join(rest)} {self.text}"


class Invalid(ValueError):
    """A value that does not fit its declaration; ``str()`` lists all problems."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(", ".join(map(str, problems)))
        self.problems = tuple(problems)


class _Missing:
    """The value of a member that is not there."""


_MISSING: Final = _Missing()


class _Enough(Exception):
    """As many problems were found as are listed."""


def check(type: Any, value: Any, *path: str) -> Any:
    """``value`` made to fit ``type``: integral floats are ints where ints belong, unknown members are gone.

    ``path`` is what the paths of problems begin with. Raises :class:`Invalid` with all problems.
    """
    walk = _Walk(declared_options(type))
    try:
        fitted = walk.fit(describe(type), value, path)
    except _Enough:
        fitted = None
    if walk.problems:
        raise Invalid(walk.problems)
    return fitted


def foreign_problem(group: str, fault: msgspec.ValidationError) -> Problem:
    """The problem a Struct's own check raised, or another one that only the typed decoder finds."""
    return Problem((group,), str(fault.__cause__ or fault))


def _kind(value: Any) -> str:
    """What the contract calls the type of a JSON value."""
    if isinstance(value, _Missing):
        return "undefined"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "NaN" if isinstance(value, float) and math.isnan(value) else "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "null"


_KINDS: Final[dict[str, tuple[type[shapes.Type], ...]]] = {
    "string": (shapes.StrType, shapes.LiteralType),
    "boolean": (shapes.BoolType,),
    "number": (shapes.IntType, shapes.FloatType),
    "array": (shapes.ListType, shapes.VarTupleType),
    "object": (shapes.StructType, shapes.DictType),
}


def _choose(options: tuple[shapes.Type, ...], value: Any) -> shapes.Type:
    """The alternative that ``value`` is measured by."""
    real = [option for option in options if not isinstance(option, shapes.NoneType)] or list(options)
    likely = [option for option in real if isinstance(option, _KINDS.get(_kind(value), ()))]
    if isinstance(value, float) and len(likely) > 1:
        likely = [option for option in likely if isinstance(option, shapes.FloatType)]
    return (likely or real)[0]


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _utf16_length(text: str, enough: int) -> int:
    """The code units of a text; of one with more than ``enough`` characters, some number above that."""
    return len(text) if len(text) > enough else len(text.encode("utf-16-le")) // 2


def _encodable(value: float) -> int | float:
    """``value``, as a float if it is beyond 64 bits: what is not exact in a client anyway."""
    if isinstance(value, float) or -(2**63) <= value < 2**64:
        return value
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _representable(value: Any) -> Any:
    """A value of any type, with every number in it encodable."""
    if isinstance(value, dict):
        return {name: _representable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_representable(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return _encodable(value)
    return value


class _Walk:
    """One pass beside a value: collects the problems, returns the value made to fit."""

    def __init__(self, options: Options) -> None:
        self.problems: list[Problem] = []
        self._text_left = MOST_TEXT
        self._declared = options
        self._mistyped = 0

    def fit(self, info: shapes.Type, value: Any, path: _Path) -> Any:
        options = options_of(info)
        if value is None and any(isinstance(option, shapes.NoneType) for option in options):
            return None
        choice = _choose(options, value)
        match choice:
            case shapes.StructType():
                return self._object(choice, value, path)
            case shapes.DictType():
                return self._record(choice, value, path)
            case shapes.ListType() | shapes.VarTupleType():
                return self._array(choice, value, path)
            case _:
                return self._scalar(choice, value, path)

    def _scalar(self, info: shapes.Type, value: Any, path: _Path) -> Any:
        match info:
            case shapes.StrType():
                return self._text(info, value, path)
            case shapes.LiteralType():
                return self._option(info, value, path)
            case shapes.IntType() | shapes.FloatType():
                return self._number(info, value, path)
            case shapes.BoolType():
                return value if isinstance(value, bool) else self._mismatch("boolean", value, path)
            case shapes.NoneType():
                return self._mismatch("null", value, path)
            case _:
                if isinstance(value, _Missing):
                    self._mismatch("nonoptional", value, path)
                return _representable(value)

    def _object(self, info: shapes.StructType, value: Any, path: _Path) -> Any:
        if not isinstance(value, dict):
            return self._mismatch("object", value, path)
        fitted, mistyped = {}, self._mistyped
        for member in info.fields:
            name = member.encode_name
            if name in value or member.required:
                fitted[name] = self.fit(member.type, value.get(name, _MISSING), (*path, name))
        if mistyped == self._mistyped and hasattr(info.cls, "__post_init__"):
            self._whole(info, fitted, path)
        return fitted

    def _whole(self, info: shapes.StructType, fitted: dict[str, Any], path: _Path) -> None:
        """What the Struct finds wrong with itself, beside members that are out of bounds."""
        names = {member.encode_name: member.name for member in info.fields}
        try:
            info.cls(**{names[name]: value for name, value in fitted.items()})
        except ValueError as fault:
            self._fault(str(fault), path)

    def _record(self, info: shapes.DictType, value: Any, path: _Path) -> Any:
        if not isinstance(value, dict):
            return self._mismatch("record", value, path)
        return {
            name: self.fit(info.value_type, item, (*path, name[:_LONGEST_NAME]))
            for name, item in value.items()
        }

    def _array(self, info: ArrayType, value: Any, path: _Path) -> Any:
        if not isinstance(value, list):
            self._mismatch("array", value, path)
            return self._length(info, value, path)
        # Of a list that is too long no more items are looked at than it may have.
        looked_at = value[: info.max_length]
        fitted = [self.fit(info.item_type, item, (*path, index)) for index, item in enumerate(looked_at)]
        self._length(info, value, path)
        return fitted

    def _text(self, info: shapes.StrType, value: Any, path: _Path) -> Any:
        if not isinstance(value, str):
            self._mismatch("string", value, path)
            return self._length(info, value, path)
        self._length(info, value, path)
        if info.pattern is not None and not _pattern(info.pattern).search(value):
            uuid = info.pattern == UUID_PATTERN
            self._fault(
                "Invalid UUID" if uuid else f"Invalid string: must match pattern /{info.pattern}/", path
            )
        return value

    def _length(self, info: shapes.StrType | ArrayType, value: Any, path: _Path) -> None:
        """Whether a text or an array, even in the place of the other one, has the right length."""
        bound = info.min_length if info.max_length is None else info.max_length
        if bound is None:
            return
        if isinstance(value, str):
            length, what, of = _utf16_length(value, bound), "string", "characters"
        elif isinstance(value, list):
            length, what, of = len(value), "array", "items"
        else:
            return
        if info.min_length is not None and length < info.min_length:
            self._fault(f"Too small: expected {what} to have >={info.min_length} {of}", path)
        if info.max_length is not None and length > info.max_length:
            self._fault(f"Too big: expected {what} to have <={info.max_length} {of}", path)

    def _option(self, info: shapes.LiteralType, value: Any, path: _Path) -> Any:
        if not any(value == option and type(value) is type(option) for option in info.values):
            declared = self._declared.get(frozenset(info.values), info.values)
            listed = "|".join(f'"{option}"' for option in declared)
            self._mistyped += 1
            self._fault(f"Invalid option: expected one of {listed}", path)
        return value

    def _number(self, info: NumberType, value: Any, path: _Path) -> Any:
        if _kind(value) != "number" or math.isinf(_encodable(value)):
            return self._mismatch("number", value, path)
        if isinstance(info, shapes.IntType):
            if isinstance(value, float) and not value.is_integer():
                return self._mismatch("int", value, path)
            value = int(value)
            self._safe(value, path)
        self._bounds(info, value, path)
        return _encodable(value)

    def _safe(self, value: int, path: _Path) -> None:
        """Whether a whole number is one that clients represent exactly; further bounds are looked at too."""
        if value < -SAFE:
            self._fault(f"Too small: expected int to be >={-SAFE}", path)
        if value > SAFE:
            self._fault(f"Too big: expected int to be <={SAFE}", path)

    def _bounds(self, info: NumberType, value: float, path: _Path) -> None:
        if info.ge is not None and info.ge != -SAFE and value < info.ge:
            self._fault(f"Too small: expected number to be >={info.ge}", path)
        if info.gt is not None and value <= info.gt:
            self._fault(f"Too small: expected number to be >{info.gt}", path)
        if info.le is not None and info.le != SAFE and value > info.le:
            self._fault(f"Too big: expected number to be <={info.le}", path)
        if info.lt is not None and value >= info.lt:
            self._fault(f"Too big: expected number to be <{info.lt}", path)

    def _mismatch(self, expected: str, value: Any, path: _Path) -> None:
        self._mistyped += 1
        self._fault(f"Invalid input: expected {expected}, received {_kind(value)}", path)

    def _fault(self, text: str, path: _Path) -> None:
        problem = Problem(path, text)
        self.problems.append(problem)
        self._text_left -= len(str(problem))
        if len(self.problems) == MOST_PROBLEMS or self._text_left <= 0:
            raise _Enough
