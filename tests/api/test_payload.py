"""What a body is, by its header."""

from __future__ import annotations

import pytest

from happy.api.payload import is_json


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
