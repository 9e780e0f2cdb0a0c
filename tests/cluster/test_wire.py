"""What nodes of other releases say, and what no node does."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from happy.cluster import wire

BEAT = wire.Beat("a", "n1", wire.VERSION, draining=True, era=3, release="1.2", sockets=5)


def test_a_newer_beat() -> None:
    """What a newer release adds at the end is left out."""
    said = [*msgspec.msgpack.decode(wire.encode(BEAT)), "new", {"more": 1}]
    assert wire.decode(msgspec.msgpack.encode(said)) == BEAT


def test_an_older_beat() -> None:
    """What an older release does not say has its usual value."""
    said = msgspec.msgpack.decode(wire.encode(BEAT))[:4]
    assert wire.decode(msgspec.msgpack.encode(said)) == wire.Beat("a", "n1", wire.VERSION)


@pytest.mark.parametrize("kind", get_args(wire.AnyWord))
def test_whose_it_is(kind: type[wire.NodeWord]) -> None:
    """By its first bytes one knows of every word whether a node said it, whoever else is named in it."""
    node, other = "0123456789", "abcdef0123"
    rest = len(kind.__struct_fields__) - 1
    said, heard = kind(node, *[other] * rest), kind(other, *[node] * rest)
    assert wire.beginning(node) in wire.encode(said)[: wire.BEGINNING]
    assert wire.beginning(node) not in wire.encode(heard)[: wire.BEGINNING]


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xc1",
        b"\x91" * 100_000,
        *map(msgspec.msgpack.encode, (3, [], ["b"], ["of later", "a"], ["b", 1, "n1", 1], {"b": 1})),
        wire.encode(BEAT)[:-1],
        wire.encode(BEAT) + b"\x00",
    ],
)
def test_garbage(garbage: bytes) -> None:
    """It is nothing."""
    assert wire.decode(garbage) is None
