"""Query strings, and the numbers in them (http.md 3.2, 3.4)."""

from __future__ import annotations

import math

import pytest

from happy.api.query import coerce_number, gather, split_query


@pytest.mark.parametrize(
    ("raw", "pairs"),
    [
        (b"", []),
        (b"a=1&b=2", [("a", "1"), ("b", "2")]),
        (b"&&a=1&", [("a", "1")]),
        (b"a&b=&=c&d=e=f", [("a", ""), ("b", ""), ("", "c"), ("d", "e=f")]),
        (b"a+b=c%20d%2B", [("a b", "c d+")]),
        (b"a=%c3%A9", [("a", "é")]),
        (b"a=%", [("a", "%")]),
        (b"a=%zz+%41", [("a", "%zz %41")]),
        (b"a=%ff", [("a", "%ff")]),
        (b"a=\xff", [("a", "\ufffd")]),
    ],
)
def test_split(raw: bytes, pairs: list[tuple[str, str]]) -> None:
    """Names and values in order; what is wrongly escaped stays as written."""
    assert split_query(raw) == pairs


def test_gather() -> None:
    """What is given once is a text, what is given more often a list."""
    pairs = [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("a", "5"), ("c", "6")]
    assert gather(pairs) == {"a": ["1", "3", "5"], "b": "2", "c": ["4", "6"]}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 0),
        ("  ", 0),
        ("7", 7),
        (" -7 ", -7),
        ("+1.5e1", 15),
        (".5", 0.5),
        ("5.", 5),
        ("0x1F", 31),
        ("0b101", 5),
        ("0o17", 15),
        ("1e999", math.inf),
    ],
)
def test_numbers(text: str, number: float) -> None:
    """A text is the number that it stands for; a whole one is an int."""
    found = coerce_number(text)
    assert found == number
    assert isinstance(found, int) is (math.isfinite(number) and number == int(number))


@pytest.mark.parametrize("text", ["a", "1a", "1 2", "--1", ".", "e5", "0x", "-0x1", "٣", ["1", "2"], ["1"]])
def test_no_numbers(text: str | list[str]) -> None:
    """What stands for none is NaN, which is refused as a number later."""
    assert math.isnan(coerce_number(text))
