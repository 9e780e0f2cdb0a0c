"""The two ways to write JSON: in one step, and with care."""

from __future__ import annotations

from typing import Any

import pytest

from happy.wire.jsontext import encode_plainly


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["1.0"], b'["1.0"]'),
        (["a", 1, None, True], b'["a",1,null,true]'),
        ([{"a": [1.5]}], b'[{"a":[1.5]}]'),
        ([1.0], None),
        ([{"a": [2.0]}], None),
    ],
)
def test_in_one_step(values: list[Any], text: bytes | None) -> None:
    """What needs no care is written at once; 1.0 does, which is written as 1."""
    assert encode_plainly(values) == text
