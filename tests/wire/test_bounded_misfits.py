"""Bodies that do not fit and are as bad as they can be: what is looked at, and what is said, has bounds."""

from __future__ import annotations

import time
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from happy.api.described import counts_utf16
from happy.api.query import coerce_number
from happy.api.structs import Body, Invalid, Key, MalformedJson, Size200, decode_body, parse_json
from happy.wire.surrogates import MOST_LONE, mend_surrogates


class Item(Body):
    key: str
    value: str


class Short(Body):
    items: Annotated[list[Item], Meta(max_length=2)]


class Long(Body):
    items: Annotated[list[Item], Meta(max_length=5000)]


class Named(Body):
    counts: dict[str, float]


class Called(Body):
    name: Key


class Titled(Body):
    title: Size200


def problems(shape: type[Any], raw: bytes) -> str:
    with pytest.raises(Invalid) as caught:
        decode_body(shape, raw)
    return str(caught.value)


@pytest.mark.parametrize("item", [b"1", b"{}", b'{"key":1,"value":null}'])
def test_items_beyond_the_length(item: bytes) -> None:
    """Of a list that is too long no more items are looked at than it may have."""
    told = problems(Short, b'{"items":[' + b",".join([item] * 2000) + b"]}")
    assert "body/items/1" in told
    assert "body/items/2" not in told
    assert told.endswith("body/items Too big: expected array to have <=2 items")


@pytest.mark.parametrize("item", [b"1", b"{}", b'{"key":1,"value":null}'])
def test_many_problems(item: bytes) -> None:
    """However many items are wrong, some KiB of text say so."""
    told = problems(Long, b'{"items":[' + b",".join([item] * 2000) + b"]}")
    assert 4096 <= len(told) < 4400


def test_long_names() -> None:
    """What a client calls its members comes back shortened."""
    told = problems(Named, b'{"counts":{"' + b"n" * 10_000 + b'":"many"}}')
    assert told == f"body/counts/{'n' * 100} Invalid input: expected number, received string"


@pytest.mark.parametrize("title", ["x" * 201, "😀" * 101, "x" * 1_000_000])
def test_long_texts(title: str) -> None:
    """A text is too long by a little or by far, in UTF-16 code units."""
    told = problems(Titled, b'{"title":"' + title.encode() + b'"}')
    assert told == "body/title Too big: expected string to have <=200 characters"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"[" + b",".join([b"1"] * 20_001) + b"]", "JSON has too many values"),
        (b'{"x":' + b"[" * 128 + b"]" * 128 + b"}", "JSON nests too deeply"),
        (b"[1e999," * 129 + b"]" * 129, "JSON nests too deeply"),
    ],
)
def test_too_complex(raw: bytes, why: str) -> None:
    """A text of too many values or levels is malformed."""
    with pytest.raises(MalformedJson, match=why):
        parse_json(raw)


@pytest.mark.parametrize(
    "text",
    [
        "1" * 16_000 + "x",
        "1." + "1" * 16_000 + "x",
        "." * 16_000,
        "0x" + "f" * 16_000 + "g",
        "1e" + "1" * 16_000 + "x",
    ],
    ids=lambda text: text[:4],
)
def test_long_query_numbers(text: str) -> None:
    """What is nearly a number takes no longer to refuse than its length."""
    began = time.process_time()
    assert coerce_number(text) != coerce_number(text)
    assert time.process_time() - began < 0.1


UNITS = st.sampled_from(
    [r"\ud800", r"\uDC00", r"\udbFF\udfff", r"\\", r"\"", r"\u0041", "a", "ud800", "\\", "\0"]
)


@given(st.lists(UNITS, max_size=9).map("".join))
def test_mending(text: str) -> None:
    """Exactly the surrogates without a partner are replaced, found by going from escape to escape."""
    assert mend_surrogates(text.encode()) == (text if "\0" in text else mended(text)).encode()


def test_too_many_to_mend() -> None:
    """As many surrogates as no real text has are not worked on one by one."""
    most = rb"\ud800" * MOST_LONE
    assert mend_surrogates(most) == rb"\ufffd" * MOST_LONE
    assert mend_surrogates(rb"\udfff" + most) == rb"\udfff" + most


def mended(text: str) -> str:
    """The slow way."""
    parts, place = [], 0
    while place < len(text):
        part = text[
            place : place + (1 if text[place] != "\\" else 6 if text[place + 1 : place + 2] == "u" else 2)
        ]
        both = text[place : place + 12]
        if surrogate(part, "89ab") and len(both) == 12 and both[6] == "\\" and surrogate(both[6:], "cdef"):
            part = both
        elif surrogate(part, "89abcdef"):
            part = r"\ufffd"
        parts.append(part)
        place += len(both) if part == both and len(both) == 12 else 6 if part == r"\ufffd" else len(part)
    return "".join(parts)


def surrogate(text: str, third: str) -> bool:
    return len(text) == 6 and text.startswith((r"\ud", r"\uD")) and text[3].lower() in third


def test_keys() -> None:
    """What something is called by has a length, which costs the usual request nothing."""
    assert decode_body(Called, b'{"name":"' + b"n" * 16_384 + b'"}').name == "n" * 16_384
    assert problems(Called, b'{"name":"' + b"n" * 16_385 + b'"}') == (
        "body/name Too big: expected string to have <=16384 characters"
    )
    assert not counts_utf16(Called)
