"""How updates are written."""

from __future__ import annotations

import json

import pytest

from happy.realtime.updates import DeleteSession, Update, devices_of, encode_update
from happy.storage.types import Millis


def test_times() -> None:
    """A time as it comes from the database is a number, and so is one of our own."""
    for at in (5, Millis(5)):
        update = Update(audience=devices_of("a"), seq=1, body=DeleteSession(sid="s"), created_at=at)
        assert json.loads(encode_update(update))["createdAt"] == 5


def test_what_is_no_time() -> None:
    """What has no JSON form is refused, by the name of its type alone."""
    update = Update(audience=devices_of("a"), seq=1, body=DeleteSession(sid="s"), created_at=object())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="^object has no JSON form$"):
        encode_update(update)
