"""Decoding of requests, and the problems it names (http.md 3.4)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType

from happy.api.structs import (
    Body,
    Integer,
    Invalid,
    MalformedJson,
    NonEmpty,
    NonNegative,
    Number,
    Positive,
    Size200,
    Uuid,
    decode_body,
    decode_value,
    encode,
)
from happy.wire.surrogates import MOST_LONE


class Part(Body):
    key: str
    value: str | None
    version: Number


class Sample(Body):
    tag: str = ""
    expected_version: NonNegative = 0
    since: Positive | None = None
    whole: Integer = 0
    unit: Literal["hour", "day"] | None = None
    title: Size200 = "x"
    name: NonEmpty = "x"
    id: Uuid = "00000000-0000-0000-0000-000000000000"
    parts: Annotated[list[Part], Meta(min_length=1, max_length=2)] | UnsetType = UNSET
    data: dict[str, Any] | UnsetType = UNSET
    flag: bool = False
    size: Annotated[float, Meta(le=10_485_760)] = 0


class Passed(Body):
    name: str
    part: msgspec.Raw


class Required(Body):
    tag: str
    metadata: str
    agent_state: str | None | UnsetType = UNSET


def problems(shape: type[Any], raw: bytes) -> str:
    with pytest.raises(Invalid) as caught:
        decode_body(shape, raw)
    return str(caught.value)


EMOJI = "😀"


@pytest.mark.parametrize(
    ("member", "text"),
    [
        (b'"tag":5', "body/tag Invalid input: expected string, received number"),
        (b'"tag":null', "body/tag Invalid input: expected string, received null"),
        (b'"tag":{}', "body/tag Invalid input: expected string, received object"),
        (b'"tag":[]', "body/tag Invalid input: expected string, received array"),
        (b'"tag":true', "body/tag Invalid input: expected string, received boolean"),
        (b'"expectedVersion":"1"', "body/expectedVersion Invalid input: expected number, received string"),
        (b'"expectedVersion":true', "body/expectedVersion Invalid input: expected number, received boolean"),
        (b'"expectedVersion":null', "body/expectedVersion Invalid input: expected number, received null"),
        (b'"expectedVersion":1.5', "body/expectedVersion Invalid input: expected int, received number"),
        (b'"expectedVersion":-1', "body/expectedVersion Too small: expected number to be >=0"),
        (
            b'"expectedVersion":9007199254740993',
            "body/expectedVersion Too big: expected int to be <=9007199254740991",
        ),
        (
            b'"whole":-1e300',
            "body/whole Too small: expected int to be >=-9007199254740991",
        ),
        (
            b'"expectedVersion":' + b"9" * 40,
            "body/expectedVersion Too big: expected int to be <=9007199254740991",
        ),
        (b'"since":0', "body/since Too small: expected number to be >0"),
        (
            b'"since":-1e20',
            "body/since Too small: expected int to be >=-9007199254740991, "
            "body/since Too small: expected number to be >0",
        ),
        (b'"size":1e999', "body/size Invalid input: expected number, received number"),
        (b'"size":' + b"9" * 5000, "body/size Invalid input: expected number, received number"),
        (b'"whole":-1e999', "body/whole Invalid input: expected number, received number"),
        (b'"size":10485761', "body/size Too big: expected number to be <=10485760"),
        (b'"unit":"week"', 'body/unit Invalid option: expected one of "hour"|"day"'),
        (b'"unit":1', 'body/unit Invalid option: expected one of "hour"|"day"'),
        (b'"title":""', "body/title Too small: expected string to have >=1 characters"),
        (b'"name":""', "body/name Too small: expected string to have >=1 characters"),
        (
            b'"title":"' + b"x" * 201 + b'"',
            "body/title Too big: expected string to have <=200 characters",
        ),
        (
            b'"title":"' + EMOJI.encode() * 101 + b'"',
            "body/title Too big: expected string to have <=200 characters",
        ),
        (b'"id":"x"', "body/id Invalid UUID"),
        (b'"id":"00000000-0000-0000-0000-000000000000\\n"', "body/id Invalid UUID"),
        (b'"id":"6f2c5a1e-7b1d-0f3a-9c4e-2d8b6a5f4e3d"', "body/id Invalid UUID"),
        (b'"parts":[]', "body/parts Too small: expected array to have >=1 items"),
        (b'"parts":{}', "body/parts Invalid input: expected array, received object"),
        (b'"parts":"xy"', "body/parts Invalid input: expected array, received string"),
        (
            b'"parts":""',
            "body/parts Invalid input: expected array, received string, "
            "body/parts Too small: expected string to have >=1 characters",
        ),
        (
            b'"title":[]',
            "body/title Invalid input: expected string, received array, "
            "body/title Too small: expected array to have >=1 items",
        ),
        (b'"parts":null', "body/parts Invalid input: expected array, received null"),
        (b'"data":null', "body/data Invalid input: expected record, received null"),
        (b'"data":[]', "body/data Invalid input: expected record, received array"),
        (b'"flag":0', "body/flag Invalid input: expected boolean, received number"),
    ],
)
def test_problem(member: bytes, text: str) -> None:
    """Each kind of problem has the contract's text."""
    assert problems(Sample, b"{" + member + b"}") == text


def test_all_problems() -> None:
    """Every problem of a body is named, in the order of the declaration, nested ones with their path."""
    raw = b'{"parts":[{"key":1,"version":"v"},5,{"key":"","value":null,"version":0}],"tag":1,"flag":"no"}'
    assert problems(Sample, raw) == ", ".join(
        [
            "body/tag Invalid input: expected string, received number",
            "body/parts/0/key Invalid input: expected string, received number",
            "body/parts/0/value Invalid input: expected string, received undefined",
            "body/parts/0/version Invalid input: expected number, received string",
            "body/parts/1 Invalid input: expected object, received number",
            "body/parts Too big: expected array to have <=2 items",
            "body/flag Invalid input: expected boolean, received string",
        ]
    )


def test_missing_members() -> None:
    """A member that is required and absent is reported as undefined."""
    assert problems(Required, b"{}") == (
        "body/tag Invalid input: expected string, received undefined, "
        "body/metadata Invalid input: expected string, received undefined"
    )


@pytest.mark.parametrize(
    ("raw", "received"),
    [(b"null", "null"), (b'"text"', "string"), (b"[]", "array"), (b"1", "number"), (b"true", "boolean")],
)
def test_not_an_object(raw: bytes, received: str) -> None:
    """A body that is no object is one problem with an empty path."""
    assert problems(Required, raw) == f"body/ Invalid input: expected object, received {received}"


def test_absent_and_null() -> None:
    """An absent optional member and an explicit null are told apart."""
    assert decode_body(Required, b'{"tag":"","metadata":""}').agent_state is UNSET
    assert decode_body(Required, b'{"tag":"","metadata":"","agentState":null}').agent_state is None


def test_unknown_members() -> None:
    """Unknown members are ignored, whatever they hold."""
    assert decode_body(Required, b'{"tag":"a","metadata":"","x":{"y":[1]}}').tag == "a"


@pytest.mark.parametrize("text", [b"3.0", b"3e0", b"30e-1", b"0.3e1"])
def test_integral_floats(text: bytes) -> None:
    """A whole number may be written as a fraction."""
    value = decode_body(Sample, b'{"expectedVersion":' + text + b"}").expected_version
    assert value == 3
    assert isinstance(value, int)


def test_numbers_stay_as_written() -> None:
    """Where any number is allowed, fractions and negative numbers pass."""
    raw = b'{"parts":[{"key":"","value":null,"version":-1.5},{"key":"","value":null,"version":7}]}'
    parts = decode_body(Sample, raw).parts
    assert parts is not UNSET
    assert [part.version for part in parts] == [-1.5, 7]


def test_utf16_limits() -> None:
    """A character outside of the basic plane counts twice; 100 of them fit into 200."""
    assert decode_body(Sample, b'{"title":"' + EMOJI.encode() * 100 + b'"}').title == EMOJI * 100


@pytest.mark.parametrize(
    "uuid",
    [
        "6f2c5a1e-7b1d-4f3a-9c4e-2d8b6a5f4e3d",
        "6F2C5A1E-7B1D-8F3A-BC4E-2D8B6A5F4E3D",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
    ],
)
def test_uuids(uuid: str) -> None:
    """Versions 1-8 with RFC variant bits, nil and max are UUIDs in any case, and kept as given."""
    assert decode_body(Sample, encode({"id": uuid})).id == uuid


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (rb"\ud800", "�"),
        (rb"a\udfffb", "a�b"),
        (rb"\ud83d\ude00", EMOJI),
        (rb"\ud83d\ud83d\ude00", "�" + EMOJI),
        (rb"\\ud800", r"\ud800"),
        (rb"\\\ud800", "\\�"),
        (rb"\ud800\u0041", "�A"),
        (rb"\uDBFFx", "�x"),
    ],
)
def test_lone_surrogates(escaped: bytes, text: str) -> None:
    """An escaped surrogate without its partner is the replacement character; everything else is kept."""
    assert decode_body(Required, b'{"tag":"' + escaped + b'","metadata":""}').tag == text


@pytest.mark.parametrize(
    "part",
    [
        rb'"\ud800"',
        rb'["a\udfffb", 1.0, 1e999, 12345678901234567890123]',
        rb'{"\\ud800": "\ud83d\ude00\ud800"}',
    ],
)
def test_what_is_passed_on_stays(part: bytes) -> None:
    """A raw member is as it came, whatever had to be mended around it, or in it."""
    found = decode_body(Passed, rb'{"name": "\udfff", "part": ' + part + b"}")
    assert (found.name, bytes(found.part)) == ("�", part)


def test_marks_that_are_there_already() -> None:
    """Where a text escapes characters for private use, those are not taken for marks of ours."""
    found = decode_body(Passed, rb'{"name": "", "part": ["\ue800", "\ud800"]}')
    assert msgspec.json.decode(found.part) == ["\ue800", "�"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{'a':1}",
        b'{"tag":"a",}',
        b"not json",
        b'{"tag":"\xff","metadata":""}',
        b"[" * 100_000,
        b'{"tag":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"NaN",
        b'{"a":Infinity}',
        b'{"tag":"a","metadata":""} {}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_malformed(raw: bytes) -> None:
    """What is not JSON, not UTF-8, or nested beyond reason is malformed, and the text says why."""
    with pytest.raises(MalformedJson) as caught:
        decode_body(Required, raw)
    assert str(caught.value)


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"9" * 5000])
def test_numbers_beyond_floats(number: bytes) -> None:
    """A number beyond every float is JSON, and harmless where nobody asks for it."""
    assert decode_body(Required, b'{"tag":"\\ud800","metadata":"","x":' + number + b"}").tag == "�"
    data = decode_body(Sample, b'{"data":{"n":' + number + b"}}").data
    assert data == {"n": None}


def test_numbers_beyond_floats_with_surrogates() -> None:
    """Beside such a number, too, more lone surrogates than are mended are no JSON."""
    lone = rb"\ud800" * (MOST_LONE + 1)
    with pytest.raises(MalformedJson):
        decode_body(Sample, b'{"data":{"n":1e999,"text":"' + lone + b'"}}')
    pairs = rb"\ud83d\ude00" * (MOST_LONE + 1)
    assert decode_body(Sample, b'{"data":{"n":1e999,"text":"' + pairs + b'"}}').data != UNSET


def test_raw_members() -> None:
    """A member kept as JSON survives both ways of decoding."""

    class Carrying(Body):
        number: Integer
        data: msgspec.Raw

    for raw in (b'{"number":1,"data":{"a":[1,2]}}', b'{"number":1.0,"data":{"a":[1,2]}}'):
        assert bytes(decode_body(Carrying, raw).data) == b'{"a":[1,2]}'


def test_any_value_passes() -> None:
    """Numbers of any size may stand where any JSON value is allowed."""
    huge = b'{"expectedVersion":1.0,"data":{"n":' + b"9" * 400 + b',"m":[-' + b"9" * 30 + b"]}}"
    data = decode_body(Sample, huge).data
    assert data is not UNSET
    assert data["m"] == [-1e30]


def test_plain_values() -> None:
    """A value that never was JSON text is decoded by the same rules."""
    assert decode_value(Required, {"tag": "a", "metadata": "b", "more": 1}).metadata == "b"
    with pytest.raises(Invalid, match="body/ Invalid input: expected object, received string"):
        decode_value(Required, "text")
