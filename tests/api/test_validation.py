"""How bodies that do not fit are explained, at the edges."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from msgspec import Meta, field

from happy.api.structs import Body, Invalid, decode_body
from happy.api.validation import _encodable


class Bounds(Body):
    low: Annotated[int, Meta(gt=0, lt=10)] = 5
    high: Annotated[int, Meta(ge=0, le=10)] = 5


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b'{"low":0,"high":"x"}', "expected number to be >0"),
        (b'{"low":10,"high":"x"}', "expected number to be <10"),
        (b'{"low":"x","high":-1}', "expected number to be >=0"),
        (b'{"low":"x","high":11}', "expected number to be <=10"),
    ],
)
def test_bounds_are_explained(raw: bytes, told: str) -> None:
    """A number at a bound that it must not reach is explained beside what else is wrong."""
    with pytest.raises(Invalid) as caught:
        decode_body(Bounds, raw)
    assert told in str(caught.value)
    assert decode_body(Bounds, b'{"low":9,"high":10}').high == 10
    assert decode_body(Bounds, b'{"low":1,"high":0}').low == 1


class Tree(Body):
    kind: Literal["twig", "leaf"]
    parts: list[Tree] = field(default_factory=list)


def test_types_that_hold_themselves() -> None:
    """Their choices are told as declared, however deep."""
    with pytest.raises(Invalid) as caught:
        decode_body(Tree, b'{"kind":"twig","parts":[{"kind":"root"}]}')
    assert str(caught.value).index("twig") < str(caught.value).index("leaf")


@pytest.mark.parametrize("number", [-(2**63), 2**64 - 1])
def test_whole_numbers_of_64_bits(number: int) -> None:
    """They stay whole; larger ones are as a client has them."""
    assert type(_encodable(number)) is int
    assert type(_encodable(number + (1 if number > 0 else -1))) is float
