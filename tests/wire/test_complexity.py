"""How deep JSON nests and how many values it has: against what a parser finds."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.wire import complexity
from happy.wire.complexity import (
    DEEPEST,
    MOST_EXPONENTS,
    MOST_VALUES,
    SMALL,
    Meter,
    TooComplex,
    check_complexity,
)
from happy.wire.engineio import InvalidPacket
from happy.wire.incoming import Decoder, EventPacket

TEXTS = st.text(st.sampled_from('a"\\[]{},:é'), max_size=8)
VALUES = st.recursive(
    st.none() | st.integers(0, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def marks(value: Any) -> int:
    """Commas, colons and opening brackets of the text."""
    if isinstance(value, dict):
        return 1 + len(value) + max(len(value) - 1, 0) + sum(map(marks, value.values()))
    if isinstance(value, list):
        return 1 + max(len(value) - 1, 0) + sum(map(marks, value))
    return 0


@given(VALUES, st.lists(st.integers(0, 200)))
def test_measure(value: Any, cuts: list[int]) -> None:
    """The measure of a text is right, however it is cut into pieces and whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=False).encode()
    meter = Meter()
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    deepest = 0
    for start, end in itertools.pairwise(places):
        meter.feed(text[start:end])
        deepest = max(deepest, meter._depth)
    assert (meter._depth, meter._values, meter._inside, meter._escape) == (0, marks(value), False, b"")
    assert deepest <= depth(value)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'{"[":[', b"]}")])
def test_depth(opening: bytes, closing: bytes) -> None:
    """As deep as allowed is fine, one deeper is not; what stands side by side does not nest."""
    levels = opening.count(b"{") + opening.count(b"[") - opening.count(b'"[')
    times = DEEPEST // levels
    text = opening * times + b"1" + closing * times
    check_complexity(text)
    check_complexity(b"[" + b",".join([opening + b"1" + closing] * 1000) + b"]")
    with pytest.raises(TooComplex, match="nests"):
        check_complexity(opening * (times + 1) + b"1" + closing * (times + 1))


@pytest.mark.parametrize("item", [b"1", b"{}", b'""', b'"a"', b'{"a":1}', b"[[]]"])
def test_values(item: bytes) -> None:
    """Many values are refused, whatever they are."""
    with pytest.raises(TooComplex, match="values"):
        check_complexity(b"[" + b",".join([item] * (MOST_VALUES + 2)) + b"]")


@pytest.mark.parametrize("inside", [b",", b"[", b":{", b'\\"', b"\\\\", b'\\\\\\",'])
def test_strings_do_not_count(inside: bytes) -> None:
    """What stands in a string is only text, however long it is."""
    check_complexity(b'["' + inside * (2 * MOST_VALUES) + b'"]')


def test_open_ends() -> None:
    """A text that only opens is too deep, even one that is no JSON."""
    with pytest.raises(TooComplex):
        check_complexity(b"[" * 1_000_000)


def test_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long text is looked at piece by piece."""
    monkeypatch.setattr(complexity, "_PIECE", 7)
    check_complexity(b'[["' + b'\\"[' * 1000 + b'"],' + b"[]," * 1000 + b"1]")


@pytest.mark.parametrize(
    ("arguments", "passes"),
    [(b"[%s]", True), (b"{%s}", False), (b'1,"x",[%s]', False), (b"[" * DEEPEST + b"%s", False)],
)
def test_of_an_event(arguments: bytes, passes: bool) -> None:
    """A single argument may have any number of values, which its reader judges; nothing else may."""
    values = b",".join([b"1"] * (MOST_VALUES + 10))
    text = b'2["message",' + arguments.replace(b"%s", values) + b"]"
    if passes:
        event = Decoder().text(text)
        assert isinstance(event, EventPacket) and len(event.arguments) == 1
    else:
        with pytest.raises(InvalidPacket):
            Decoder().text(text)


@pytest.mark.parametrize("backslashes", range(1, 7))
def test_cut_between_backslashes(backslashes: int) -> None:
    """A cut anywhere among what is escaped changes nothing about where a string ends."""
    text = json.dumps(["\\" * backslashes, '"' * backslashes, "[,"]).encode()
    for cut in range(len(text)):
        meter = Meter()
        meter.feed(text[:cut])
        meter.feed(text[cut:])
        assert (meter._depth, meter._values, meter._inside) == (0, 3, False)


@pytest.mark.parametrize(
    ("text", "values"),
    [(b"[[[[]]]]", 4), (b'["a","b"]', 2), (b'["a","b","c","d"]', 4), (b'{"a":1,"b":2}', 4)],
)
def test_exactly_as_many(text: bytes, values: int) -> None:
    """As many values as allowed are fine, whatever they are made of; one more is not."""
    Meter(values).feed(text)
    with pytest.raises(TooComplex):
        Meter(values - 1).feed(text)


def test_members_count() -> None:
    """The quick look counts the names of members, too."""
    members = [b'"a":1'] * (MOST_VALUES // 2 + 1)
    check_complexity(b"{%b}" % b",".join(members[1:]))
    with pytest.raises(TooComplex):
        check_complexity(b"{%b}" % b",".join(members))


@pytest.mark.parametrize("number", [b"1.7976931348623157e308", b"1E-7", b"5e+300"])
def test_exponents(number: bytes) -> None:
    """Numbers that take long to read are few, in however many pieces they come; words and strings are not."""
    most = b",".join([number] * MOST_EXPONENTS)
    fine = b'[%b,true,false,"%b"]' % (most, most) + b",true" * MOST_EXPONENTS
    check_complexity(fine)
    with pytest.raises(TooComplex, match="exponents"):
        check_complexity(b"[%b,%b]" % (most, number))
    meter = Meter()
    for _ in range(MOST_EXPONENTS):
        meter.feed(number + b" ")
    with pytest.raises(TooComplex, match="exponents"):
        meter.feed(number)


def test_exponents_of_what_is_passed_on() -> None:
    """The argument of a usual event is not judged before somebody here decodes it."""
    text = b'2["rpc-call",{"params":[%b]}]' % b",".join([b"1e308"] * 2 * MOST_EXPONENTS)
    assert isinstance(Decoder().text(text), EventPacket)
    assert len(text) > SMALL
