"""What counts as true where any JSON value may stand (realtime.md B.6, D-15)."""

from __future__ import annotations

from typing import Any

import pytest

from happy.capabilities._truth import truthy


@pytest.mark.parametrize("value", [True, 1, -0.5, "0", "false", [], {}, [False]])
def test_true(value: Any) -> None:
    """What ECMAScript takes for true, empty lists and objects included."""
    assert truthy(value)


@pytest.mark.parametrize("value", [False, None, 0, 0.0, -0.0, ""])
def test_false(value: Any) -> None:
    """Nothing else is false."""
    assert not truthy(value)
