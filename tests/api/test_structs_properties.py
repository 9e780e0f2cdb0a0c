"""Decoding of requests, for every JSON text there is."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from happy.api import validation
from happy.api.query import coerce_number, split_query
from happy.api.structs import Invalid, MalformedJson, decode_body, decode_query, decode_value, parse_json
from tests.api.test_structs import Part, Required, Sample
from tests.api.test_structs_in_heads import Page

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(-5, 5),
    st.integers(-5, 5).map(float),
    st.floats(allow_nan=False, allow_infinity=False),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
PARTS = st.fixed_dictionaries({"key": SCALARS, "value": SCALARS, "version": SCALARS})
TITLES = st.one_of(st.text(min_size=0, max_size=210), st.text("😀", min_size=99, max_size=102))
SAMPLES = st.fixed_dictionaries(
    {},
    optional={
        "tag": SCALARS,
        "expectedVersion": NUMBERS | VALUES,
        "since": NUMBERS | st.none(),
        "whole": NUMBERS,
        "unit": st.sampled_from(["hour", "day", "week", None, 1]),
        "title": TITLES.filter(lambda text: not any("\ud800" <= one <= "\udfff" for one in text)),
        "id": st.uuids().map(str) | TEXTS,
        "parts": st.lists(PARTS | SCALARS, max_size=3) | SCALARS,
        "data": st.dictionaries(TEXTS, VALUES, max_size=3) | SCALARS,
        "flag": SCALARS,
        "unknown": VALUES,
    },
)


def outcome(decode: Any) -> Any:
    """The value, or that there is none."""
    try:
        return decode()
    except (Invalid, MalformedJson):
        return None


def typed(raw: bytes) -> Any:
    """What the typed decoder makes of a text, with the length limits it does not know."""
    try:
        value = msgspec.json.decode(raw, type=Sample)
        validation.check(Sample, msgspec.to_builtins(value), "body")
    except (msgspec.DecodeError, Invalid):
        return None
    return value


@given(SAMPLES | VALUES)
def test_both_ways_agree(value: Any) -> None:
    """The careful way accepts what the fast one accepts, with the same result, and more only for floats
    that are whole."""
    raw = json.dumps(value).encode()
    fast, slow = typed(raw), outcome(lambda: decode_value(Sample, parse_json(raw)))
    if fast is not None:
        assert slow == fast or slow.data == approximately(fast.data)
    elif slow is not None:
        assert ".0" in raw.decode() or "e" in raw.decode()


def approximately(data: Any) -> Any:
    """``data`` with numbers beyond 64 bits as floats, which is what clients have."""
    if isinstance(data, dict):
        return {name: approximately(item) for name, item in data.items()}
    if isinstance(data, list):
        return [approximately(item) for item in data]
    if isinstance(data, int) and not -(2**63) <= data < 2**64:
        return float(data)
    return data


@given(st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_decoding_is_total(raw: bytes) -> None:
    """Bytes either fit, or are complained about; nothing else happens."""
    for shape in (Sample, Required, Part):
        outcome(lambda shape=shape: decode_body(shape, raw))


@given(st.binary(max_size=60).map(lambda noise: b'{"tag":"' + noise + b'","metadata":"\\ud800"}'))
def test_mending_is_total(raw: bytes) -> None:
    """Repairing lone surrogates never turns bytes into something else than text or a complaint."""
    value = outcome(lambda: decode_body(Required, raw))
    if value is not None:
        value.tag.encode()
        assert value.metadata == "�"


@given(SAMPLES, st.sampled_from(["tag", "metadata"]))
def test_every_problem_has_a_place(value: dict[str, Any], absent: str) -> None:
    """Every problem names its group and speaks of something."""
    value.pop(absent, None)
    try:
        decode_value(Required, value)
    except Invalid as misfit:
        assert all(problem.path[0] == "body" and problem.text for problem in misfit.problems)


@given(st.binary(max_size=60))
def test_queries_are_total(raw: bytes) -> None:
    """Any query string can be split, and decoded or complained about."""
    outcome(lambda: decode_query(Page, split_query(raw)))


@given(st.integers(-(2**53), 2**53))
def test_query_integers(number: int) -> None:
    """An integer in a query is read exactly."""
    assert coerce_number(str(number)) == number


@given(TEXTS)
def test_query_numbers_are_total(text: str) -> None:
    """Any text is a number, perhaps none."""
    assert isinstance(coerce_number(text), int | float)
