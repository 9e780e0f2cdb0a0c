"""JSON that costs a reader more than its length: each makes a text of about ``size`` bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

Filling = Callable[[int], bytes]


def items(item: bytes, size: int) -> bytes:
    """An array of the same item."""
    return b"[" + b",".join([item] * max(1, size // (len(item) + 1))) + b"]"


def members(size: int) -> bytes:
    """An object with many names."""
    return b"{" + b",".join(b'"a%d":1' % number for number in range(max(1, size // 11))) + b"}"


def repeated(size: int) -> bytes:
    """An object that has the same name again and again."""
    return b"{" + b",".join([b'"a":1'] * max(1, size // 6)) + b"}"


def deep_arrays(size: int) -> bytes:
    """Arrays within arrays."""
    return b"[" * (size // 2) + b"]" * (size // 2)


def deep_objects(size: int) -> bytes:
    """Objects within objects."""
    return b'{"a":' * (size // 6) + b"1" + b"}" * (size // 6)


def deep_mixed(size: int) -> bytes:
    """Arrays and objects by turns, with brackets in texts and escaped quotes between."""
    return b'[{"\\"]":' * (size // 11) + b"1" + b"}]" * (size // 11)


def escapes(size: int) -> bytes:
    """A text of escapes alone."""
    return b'"' + b"\\u0041" * (size // 6) + b'"'


def surrogates(size: int) -> bytes:
    """A text of halves of characters."""
    return b'"' + b"\\ud800" * (size // 6) + b'"'


def backslashes(size: int) -> bytes:
    """A text of escaped backslashes and quotes."""
    return b'"' + b'\\\\\\"' * (size // 4) + b'"'


def digits(size: int) -> bytes:
    """A number as long as that."""
    return b"9" * size


def decimals(size: int) -> bytes:
    """A fraction as long as that."""
    return b"0." + b"1" * size + b"e-9"


def unfinished(size: int) -> bytes:
    """Arrays that never end."""
    return b"[[1]," * (size // 5)


WIDE: dict[str, Filling] = {
    "empty objects": partial(items, b"{}"),
    "empty arrays": partial(items, b"[]"),
    "numbers": partial(items, b"0"),
    "texts": partial(items, b'""'),
    "pairs": partial(items, b'{"content":"","localId":"x"}'),
    "members": members,
    "same members": repeated,
    "unfinished": unfinished,
}
DEEP: dict[str, Filling] = {"arrays": deep_arrays, "objects": deep_objects, "mixed": deep_mixed}
LONG: dict[str, Filling] = {
    "escapes": escapes,
    "surrogates": surrogates,
    "backslashes": backslashes,
    "digits": digits,
    "decimals": decimals,
}
