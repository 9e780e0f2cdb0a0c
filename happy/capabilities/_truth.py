"""What ECMAScript takes a JSON value for where the contract says "falsy" or "truthy"."""

from __future__ import annotations

from typing import Any


def truthy(value: Any) -> bool:
    """False for null, false, zero and the empty text only: empty lists and objects are true."""
    return bool(value) or isinstance(value, list | dict)
