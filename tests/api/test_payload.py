"""What a body is, by its header, and how it is read."""

from __future__ import annotations

from collections.abc import Generator
from io import BytesIO

import pytest

from happy.api.payload import LARGE, is_json, payload_of
from happy.api.structs import Body, MalformedJson


class Named(Body):
    name: str


TEXT = b'{"name":"' + b"x" * LARGE + b'"}'


def ended(steps: Generator[None, None, Named]) -> Named:
    """What steps answer."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Named = end.value
            return found


def test_large() -> None:
    """One is large that has more bytes than that; it is read from its beginning, as often as wanted."""
    for length, large in ((LARGE, False), (LARGE + 1, True)):
        assert payload_of("POST", "application/json", length, BytesIO(TEXT)).large is large
    payload = payload_of("POST", "application/json", len(TEXT), BytesIO(TEXT))
    for _ in range(2):
        assert ended(payload.decode_in_slices(Named)).name == "x" * LARGE
    assert payload.raw == payload.file().read() == TEXT
    broken = payload_of("POST", "application/json", len(TEXT), BytesIO(TEXT[1:]))
    with pytest.raises(MalformedJson):
        list(broken.parse_in_slices())


@pytest.mark.parametrize(
    ("content_type", "json"),
    [
        ("application/json", True),
        (" Application/JSON ; charset=utf-8", True),
        ("application/json+x", False),
        ("text/plain", False),
        ("", False),
        (None, False),
    ],
)
def test_is_json(content_type: str | None, json: bool) -> None:
    """JSON is what says so, whatever else it says of itself."""
    assert is_json(content_type) is json
