"""JSON that is written a portion at a time."""

from __future__ import annotations

import json
import os
from typing import Any

import msgspec
import pytest

from happy.api.portions import LARGE, PORTION, Sliced, in_portions, is_large, sliced
from happy.api.structs import Reply, encode
from happy.base.codecs import encode_base64
from happy.realtime.updates import NewMessage, NewSession
from happy.storage.large import SLICE, Kind
from happy.storage.types import Millis


class Found(Reply):
    """A reply with all kinds of members."""

    result: str
    body: Any
    created_at: int
    more: dict[str, Any]


TEXTS = (
    "a" * (3 * PORTION + 1),
    "\x01" * (PORTION + 1),
    "\U0001f600é" * PORTION,
    '"\\' * PORTION,
    "short",
    "",
)


@pytest.mark.parametrize("text", TEXTS)
def test_texts(text: str) -> None:
    """The portions make the same JSON as one step, and none of them is large."""
    value = Found(result="x", body=text, created_at=5, more={"list": [text, None, {"a": text}], "n": 1.5})
    portions = list(in_portions(value))
    assert b"".join(portions) == encode(value)
    assert max(map(len, portions)) <= 6 * PORTION
    assert is_large(value) == (3 * len(text) > LARGE)


@pytest.mark.parametrize("size", [0, 1, SLICE, 2 * SLICE + 1])
def test_bytes(size: int) -> None:
    """Bytes in slices are written as base64, however many there are."""
    data = os.urandom(size)
    value = Found(result="x", body=sliced(data), created_at=5, more={})
    assert json.loads(b"".join(in_portions(value)))["body"] == encode_base64(data)
    assert is_large(value)


def test_slices_of_text() -> None:
    """A stored text may be cut within a character."""
    text = '\U0001f600é\x01"' * PORTION
    whole = text.encode()
    value = Sliced(Kind.TEXT, [whole[start : start + SLICE] for start in range(0, len(whole), SLICE)])
    assert (
        json.loads(b"".join(in_portions(Found(result="", body=value, created_at=0, more={}))))["body"] == text
    )
    assert value.text() == text


def test_updates() -> None:
    """Tags, names and times of storage are written as ever; a message is no large one for its numbers."""
    members = {
        "seq": 1,
        "metadata": "m" * (LARGE + 1),
        "metadata_version": 0,
        "agent_state": None,
        "agent_state_version": 0,
        "data_encryption_key": None,
        "active": True,
        "active_at": Millis(1),
        "created_at": Millis(2),
        "updated_at": Millis(3),
    }
    body = NewSession(id="s", **members)
    read = msgspec.json.decode(b"".join(in_portions(body)))
    assert (read["t"], read["metadata"], read["updatedAt"]) == ("new-session", "m" * (LARGE + 1), 3)
    assert is_large(body)
    assert not is_large({"body": "x" * (LARGE + 1)})
    assert issubclass(NewMessage, msgspec.Struct)
