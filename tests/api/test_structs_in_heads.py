"""What of a request is no body: the query, headers and path variables (http.md 3.2, 3.4)."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from msgspec import UNSET, Meta, UnsetType

from happy.api.structs import (
    Headers,
    Invalid,
    NonNegative,
    Positive,
    Query,
    decode_headers,
    decode_query,
    decode_variables,
)


class Page(Query):
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    changed_since: Positive | UnsetType = UNSET
    cursor: str | UnsetType = UNSET


class Cursors(Query, rename=None):
    after_seq: NonNegative | UnsetType = UNSET
    before_seq: Positive | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.after_seq is not UNSET and self.before_seq is not UNSET:
            raise ValueError("after_seq and before_seq are mutually exclusive")


class Delivery(Headers):
    x_hub_signature_256: str
    x_github_event: str
    x_github_delivery: str | UnsetType = UNSET


def test_own_check() -> None:
    """What a Struct finds wrong with itself is a problem of the whole group."""
    with pytest.raises(Invalid) as caught:
        decode_query(Cursors, [("after_seq", "1"), ("before_seq", "2")])
    assert str(caught.value) == "querystring/ after_seq and before_seq are mutually exclusive"


def test_own_check_beside_bounds() -> None:
    """It is looked for beside members that are out of bounds, but not beside some of a wrong type."""
    pairs = [("after_seq", "-1"), ("before_seq", "2")]
    with pytest.raises(Invalid) as caught:
        decode_query(Cursors, pairs)
    assert str(caught.value) == (
        "querystring/after_seq Too small: expected number to be >=0, "
        "querystring/ after_seq and before_seq are mutually exclusive"
    )
    with pytest.raises(Invalid) as caught:
        decode_query(Cursors, [("after_seq", "x"), ("before_seq", "2")])
    assert str(caught.value) == "querystring/after_seq Invalid input: expected number, received NaN"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", 7),
        (" 7\t", 7),
        ("1e2", 100),
        ("0x10", 16),
        ("0b11", 3),
        ("0O17", 15),
        ("5.0", 5),
        ("+5", 5),
        (".5e1", 5),
        ("5.", 5),
    ],
)
def test_query_numbers(text: str, number: int) -> None:
    """Numbers in a query are read as ECMAScript reads texts."""
    assert decode_query(Page, [("limit", text)]).limit == number


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        ([("limit", "")], "querystring/limit Too small: expected number to be >=1"),
        ([("limit", "0")], "querystring/limit Too small: expected number to be >=1"),
        ([("limit", "201")], "querystring/limit Too big: expected number to be <=200"),
        ([("limit", "abc")], "querystring/limit Invalid input: expected number, received NaN"),
        ([("limit", "1_0")], "querystring/limit Invalid input: expected number, received NaN"),
        ([("limit", "-0x1")], "querystring/limit Invalid input: expected number, received NaN"),
        ([("limit", "٣")], "querystring/limit Invalid input: expected number, received NaN"),
        ([("limit", "1.5")], "querystring/limit Invalid input: expected int, received number"),
        ([("limit", "1"), ("limit", "2")], "querystring/limit Invalid input: expected number, received NaN"),
        (
            [("cursor", "a"), ("cursor", "b")],
            "querystring/cursor Invalid input: expected string, received array",
        ),
        ([("changedSince", "0")], "querystring/changedSince Too small: expected number to be >0"),
        (
            [("limit", "0"), ("changedSince", "x")],
            "querystring/limit Too small: expected number to be >=1, "
            "querystring/changedSince Invalid input: expected number, received NaN",
        ),
    ],
)
def test_query_problems(pairs: list[tuple[str, str]], text: str) -> None:
    """A query is complained about as a query."""
    with pytest.raises(Invalid) as caught:
        decode_query(Page, pairs)
    assert str(caught.value) == text


def test_query_defaults() -> None:
    """What is not in the query has its default; what nobody knows is ignored."""
    assert decode_query(Page, [("what", "ever")]) == Page()


def test_infinite_query_number() -> None:
    """A number too large for a float is refused."""
    with pytest.raises(Invalid):
        decode_query(Page, [("limit", "1e999")])


def test_headers() -> None:
    """Headers are found by their own names, and missing ones are listed."""
    found = {"x-hub-signature-256": "s", "x-github-event": "push"}
    assert decode_headers(Delivery, found.get) == Delivery(x_hub_signature_256="s", x_github_event="push")
    with pytest.raises(Invalid) as caught:
        decode_headers(Delivery, {}.get)
    assert str(caught.value) == (
        "headers/x-hub-signature-256 Invalid input: expected string, received undefined, "
        "headers/x-github-event Invalid input: expected string, received undefined"
    )


def test_variables() -> None:
    """A path variable with a closed set of values is checked, in the order of its declaration."""
    shapes = {"vendor": Literal["openai", "anthropic", "gemini"], "id": str}
    assert decode_variables(shapes, {"vendor": "openai", "id": ""}) == {"vendor": "openai", "id": ""}
    with pytest.raises(Invalid) as caught:
        decode_variables(shapes, {"vendor": "other", "id": ""})
    assert str(caught.value) == (
        'params/vendor Invalid option: expected one of "openai"|"anthropic"|"gemini"'
    )
