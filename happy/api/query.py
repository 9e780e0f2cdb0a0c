"""Query strings: splitting, and numbers written as text (http.md 3.2, 3.4)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from happy.api.described import numeric_members

# Possessive, since a long row of digits could be divided in as many ways as it has digits.
_DECIMAL = re.compile(r"[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?", re.ASCII)
_PREFIXED = re.compile(r"0(?:[xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)")
_ESCAPE_FAULT = re.compile(rb"%(?![0-9a-fA-F]{2})")


def split_query(raw: bytes) -> list[tuple[str, str]]:
    """The names and values of a raw query string, in order.

    ``+`` is a space. A part that is wrongly escaped, or is not UTF-8 once unescaped, stays as written.
    """
    pairs = []
    for part in raw.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            pairs.append((_unescape(name), _unescape(value)))
    return pairs


def _unescape(raw: bytes) -> str:
    spaced = raw.replace(b"+", b" ")
    if not _ESCAPE_FAULT.search(spaced):
        try:
            return unquote_to_bytes(spaced).decode()
        except UnicodeDecodeError:
            pass
    return spaced.decode(errors="replace")


def gather(pairs: Iterable[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Parameters by name; one that is given more than once is the list of its values."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def coerce_texts(type: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with numbers in the place of texts, for those members of ``type`` that are numeric."""
    numeric = numeric_members(type)
    return {name: coerce_number(value) if name in numeric else value for name, value in values.items()}


def coerce_number(value: str | list[str]) -> int | float:
    """The number a text stands for: NaN for a text that is none, 0 for an empty one."""
    if isinstance(value, list):
        return math.nan
    text = value.strip()
    if not text:
        return 0
    if _PREFIXED.fullmatch(text):
        return int(text, 0)
    if not _DECIMAL.fullmatch(text):
        return math.nan
    return _decimal(text)


def _decimal(text: str) -> int | float:
    number = float(text)
    if math.isfinite(number) and number.is_integer():
        return int(number)
    return number
