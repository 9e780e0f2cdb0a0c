"""The text forms of bytes (http.md 2, tokens-and-crypto.md 1)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.base.codecs import (
    decode_base64,
    decode_base64_leniently,
    decode_base64url,
    encode_base64,
    encode_base64url,
    encode_hex,
)
from tests.vectors import VECTORS

CODECS = VECTORS["codecs"]


@pytest.mark.parametrize("case", CODECS["base64_decode"], ids=lambda case: repr(case["input"]))
def test_strict_vectors(case: dict[str, Any]) -> None:
    """The strict decoder accepts and refuses exactly what existing deployments do."""
    if case.get("error"):
        with pytest.raises(ValueError):
            decode_base64(case["input"])
    else:
        assert decode_base64(case["input"]).hex() == case["output_hex"]


def test_encoding_vectors() -> None:
    """Hexadecimal is upper case, base64 standard and padded."""
    assert encode_hex(bytes.fromhex(CODECS["hex_encode"]["input_hex"])) == CODECS["hex_encode"]["output"]
    vector = CODECS["base64_encode"]
    assert encode_base64(bytes.fromhex(vector["input_hex"])) == vector["output"]


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("AQIDB", b"\1\2\3"),
        ("AQID!", b"\1\2\3"),
        ("AR==", b"\1"),
        ("AQJ=", b"\1\2"),
        ("AQIDBx==", b"\1\2\3\7"),
    ],
)
def test_strict_ignores_what_makes_no_whole_byte(text: str, data: bytes) -> None:
    """A single left-over character is not even checked, and spare low bits do not count."""
    assert decode_base64(text) == data


@pytest.mark.parametrize(
    "text", ["AQ=D", "A=ID", "AQI=D", "=AID", "AQé=", "AQID\n\n\n\n", "\ud800AAA", "A===", "Q=="]
)
def test_strict_refuses(text: str) -> None:
    """Padding inside, foreign characters and too much padding are errors, all of them ValueError."""
    with pytest.raises(ValueError):
        decode_base64(text)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", b""),
        ("-_8=", b"\xfb\xff"),
        ("+/8", b"\xfb\xff"),
        ("A Q\nI*D", b"\1\2\3"),
        ("AQ==ID", b"\1"),
        ("AQIDB", b"\1\2\3"),
        ("=AQID", b""),
        ("é\ud800✓A", b""),
    ],
)
def test_lenient(text: str, data: bytes) -> None:
    """The lenient decoder takes both alphabets, skips the rest, and ends at the first equals sign."""
    assert decode_base64_leniently(text) == data


@pytest.mark.parametrize("text", ["AQID", "AQ ID\n", "AQID==", "-_8", "+/8=", "-/8"])
def test_base64url_is_as_tolerant_as_jose(text: str) -> None:
    """Padding, either alphabet and white space do not matter when reading base64url."""
    assert decode_base64url(text) in (b"\1\2\3", b"\xfb\xff")


@pytest.mark.parametrize("text", ["AQ.D", "A=QD", "AQ*D", "AQéD"])
def test_base64url_refuses_foreign_characters(text: str) -> None:
    """Anything that is no digit of the alphabet is an error."""
    with pytest.raises(ValueError):
        decode_base64url(text)


@given(st.binary())
def test_round_trips(data: bytes) -> None:
    """Every decoder reads what the encoders write, and the encoders agree with the standard library."""
    assert encode_base64(data) == base64.b64encode(data).decode()
    assert decode_base64(encode_base64(data)) == decode_base64_leniently(encode_base64(data)) == data
    assert encode_base64url(data) == base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert decode_base64url(encode_base64url(data)) == decode_base64_leniently(encode_base64url(data)) == data


@given(st.text())
def test_lenient_never_fails(text: str) -> None:
    """No text makes the lenient decoder raise."""
    decode_base64_leniently(text)


@given(st.text("AQ-_+/=x é", max_size=40), st.sampled_from([4, 8]))
def test_slices(text: str, size: int) -> None:
    """However long a text is and wherever it is cut, its bytes are the same."""
    with pytest.MonkeyPatch.context() as patches:
        for decode in (decode_base64, decode_base64_leniently):
            whole = outcome(decode, text)
            patches.setattr("happy.base.codecs._SLICE", size)
            assert outcome(decode, text) == whole
            patches.undo()


def outcome(decode: Callable[[str], bytes], text: str) -> bytes | None:
    """The bytes, None for a text that is refused."""
    try:
        return decode(text)
    except ValueError:
        return None
