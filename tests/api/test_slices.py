"""Decoding in slices against decoding in one step, however a text is cut."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType

from happy.api import slices
from happy.api.described import LONGEST_KEY, _parts, describe
from happy.api.payload import LARGE
from happy.api.slices import SLICE, decode_in_slices
from happy.api.structs import Body, Invalid, Key, MalformedJson, NonEmpty, decode_body
from happy.capabilities import CAPABILITIES
from happy.wire.complexity import MOST_VALUES
from tests.api.test_structs import Required, Sample

T = TypeVar("T")

MIB = 1024 * 1024


def reader(text: bytes, sizes: list[int]) -> Callable[[int], bytes]:
    """What reads ``text`` in pieces of these sizes, again and again."""
    place = turn = 0

    def read(size: int) -> bytes:
        nonlocal place, turn
        piece = text[place : place + min(sizes[turn % len(sizes)], size)]
        place, turn = place + len(piece), turn + 1
        return piece

    return read


def run(steps: Generator[None, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def outcome(decode: Callable[[], Any]) -> Any:
    """The value, or the kind of complaint; what fits nothing is told in the same words."""
    try:
        return decode()
    except Invalid as misfit:
        return str(misfit)
    except MalformedJson:
        return MalformedJson


def same(shape: Any, text: bytes, sizes: list[int]) -> None:
    """Whether both ways have the same outcome."""
    whole = outcome(lambda: decode_body(shape, text if text.strip() else b"null"))
    assert outcome(lambda: run(decode_in_slices(shape, reader(text, sizes), b"null"))) == whole


TEXTS = st.text(st.characters(codec="utf-8"), max_size=100) | st.text('😀ä\\"\n', max_size=200)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "tag": TEXTS,
        "metadata": TEXTS,
        "title": TEXTS,
        "data": st.dictionaries(TEXTS, TEXTS, max_size=3),
    },
)
ESCAPES = st.lists(
    st.sampled_from([rb"\ud83d", rb"\ude00", rb"\\", rb"\"", rb"\u00e4", b"x", "😀".encode()]), max_size=60
)
SIZES = st.lists(st.integers(1, 90), min_size=1, max_size=5)


@given(BODIES, SIZES, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_values(value: dict[str, Any], sizes: list[int], ascii: bool, indent: Any) -> None:
    """What is decoded, and what is complained about, is the same."""
    text = json.dumps(value, ensure_ascii=ascii, indent=indent).encode()
    same(Sample, text, sizes)
    same(Required, text, sizes)


@given(ESCAPES.map(b"".join), SIZES)
def test_escapes(noise: bytes, sizes: list[int]) -> None:
    """No escape, surrogate pair or character is hurt by a cut."""
    same(Required, b'{"tag":"%b","metadata":"%b"}' % (noise, b"m" * 70 + noise), sizes)


@given(
    st.binary(max_size=200) | st.binary(max_size=90).map(lambda noise: b'{"tag":"' + b"t" * 70 + noise), SIZES
)
def test_noise(text: bytes, sizes: list[int]) -> None:
    """What is no JSON is refused, whatever it is."""
    same(Required, text, sizes)


@pytest.mark.parametrize(
    "text",
    [
        b'{"tag":"' + b"t" * 3 * MIB + b'","metadata":"m"}',
        b'{"tag":"' + rb"\ud83d\ude00" * 100_000 + b'","metadata":"' + "ä".encode() * MIB + b'"}',
        b'{"tag":"' + b"t" * MIB + b'","metadata":5}',
        b'{"tag":"t","metadata":"m","' + b"n" * MIB + b'":"' + b"v" * MIB + b'"}',
        b'{"tag":"t"' + b" " * 2 * MIB + b',"metadata":"m"}',
        b" " * 2 * MIB,
    ],
    ids=["one", "wide", "misfit", "name", "space", "blank"],
)
def test_large(text: bytes) -> None:
    """Megabytes are the same as bytes."""
    same(Required, text, [SLICE])


class Keyed(Body):
    key: Key = ""
    keys: list[NonEmpty] | None = None
    within: dict[str, Part] | UnsetType = UNSET


class Part(Body):
    key: NonEmpty


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("member", ['"key":%s', '"keys":["k",%s]', '"within":{"x":{"key":%s}}'])
@pytest.mark.parametrize("character", ["k", "ä"])
def test_long_keys(character: str, member: str, more: int) -> None:
    """A string that was taken out is not longer than its place allows."""
    text = ("{" + member % json.dumps(character * (LONGEST_KEY + more)) + "}").encode()
    assert isinstance(outcome(lambda: decode_body(Keyed, text)), str) == bool(more)
    same(Keyed, text, [SLICE])


def test_in_steps() -> None:
    """Each slice is a step, so that others come in between."""
    text = b'{"tag":"' + b"t" * 10 * SLICE + b'","metadata":"m"}'
    assert sum(1 for _ in decode_in_slices(Required, reader(text, [SLICE]), b"null")) > 10


def test_members_of_any_name() -> None:
    """Long strings come back wherever they were, as names too."""
    long = "n" * 100
    data = {long: [long, {long: long}]}
    found = run(decode_in_slices(Sample, reader(json.dumps({"data": data}).encode(), [7]), b"null"))
    assert found.data == data


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b'{"x":' + b"9" * 2 * MIB + b"}", "JSON has too much outside of its strings"),
        (b'"a' * MIB, "JSON has too many values"),
        (b'"' + b'" "' * MOST_VALUES * 2, "JSON has too many values"),
        (b"[" + b"1," * MOST_VALUES * 2 + b"1]", "JSON has too many values"),
        (b"[" * 200, "JSON nests too deeply"),
        (b'{"x":"' + "😀".encode() + b"x" * 27 * MIB + b'"}', "JSON has a string that is too large"),
        (b'{"x":"' + b"x" * MIB, "JSON ends within a string"),
        (b'{"x":"' + b"x" * MIB + b'\0"}', "JSON has no control characters"),
    ],
    ids=["number", "quotes", "strings", "values", "depth", "width", "end", "nul"],
)
def test_refused_early(text: bytes, why: str) -> None:
    """What would take much time or memory is refused before it does."""
    with pytest.raises(MalformedJson, match=why):
        run(decode_in_slices(msgspec.Raw, reader(text, [SLICE]), b"null"))


def test_one_copy() -> None:
    """A large string is put together where it is, not copied in one go at its end."""
    text = b'{"name":"' + b"x" * (16 * MIB) + b'"}'
    tracemalloc.start()
    try:
        value = run(decode_in_slices(dict[str, str], reader(text, [SLICE]), b"{}"))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(value["name"]) == 16 * MIB
    assert most < 24 * MIB


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (rb"ab\n", 4),
        (rb"ab\u", 2),
        (rb"ab\u12", 2),
        (rb"a\u0041", 7),
        (b"ab\\", 2),
        (b"\xc3", 0),
        (b"\xc3\xa9a", 3),
    ],
)
def test_whole(text: bytes, whole: int) -> None:
    """A part ends after an escape or a character that is all there, and before one that is not."""
    assert slices._complete(text, slices._cover(text)) == whole


def test_shapes_of_large_bodies() -> None:
    """No endpoint that takes large bodies would see, or keep, a mark in the place of a string."""
    routes = [route for group in CAPABILITIES for route in group.routes if route.limit > LARGE]
    shapes = [route.parameters["body"] for route in routes if "body" in route.parameters]
    assert shapes
    for shape in shapes:
        for part in _parts(describe(shape)):
            assert not isinstance(part, msgspec.inspect.RawType)
            assert not hasattr(getattr(part, "cls", None), "__post_init__")
