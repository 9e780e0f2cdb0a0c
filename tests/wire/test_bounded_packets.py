"""Socket.IO packets that are deeper or longer than anybody's: refused before anything is built of them."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from msgspec import Raw

from happy.wire.complexity import DEEPEST, MOST_VALUES
from happy.wire.engineio import InvalidPacket
from happy.wire.incoming import LONGEST_NAME, Ack, Connect, Decoder, EventPacket
from happy.wire.outgoing import Attachment, encode_ack, encode_event

OPENINGS = ((b"[", b"]"), (b'{"a":', b"}"))
PACKETS = (
    b'2["x",%b]',
    b'27["x",1,%b]',
    b"34[%b]",
    b"3[1,%b]",
    b'0{"a":%b}',
    b'51-["x",{"_placeholder":true,"num":0},%b]',
    b"61-9[%b]",
    b"2[%b]",
)


@pytest.mark.parametrize("packet", PACKETS)
@pytest.mark.parametrize(("opening", "closing"), OPENINGS)
@pytest.mark.parametrize("levels", [DEEPEST, 500, 2000, 100_000])
def test_too_deep(packet: bytes, opening: bytes, closing: bytes, levels: int) -> None:
    """One level beyond the bound is no packet, wherever it is; and neither are a hundred thousand."""
    with pytest.raises(InvalidPacket):
        Decoder().text(packet % (opening * levels + b"1" + closing * levels))


@pytest.mark.parametrize("packet", PACKETS[:-1])
def test_deep_enough(packet: bytes) -> None:
    """As deep as allowed is a packet, with its attachment if it has one."""
    levels = DEEPEST - 1
    decoder = Decoder()
    decoded = decoder.text(packet % (b"[" * levels + b"1" + b"]" * levels))
    assert isinstance(decoded or decoder.binary(b"x"), (EventPacket, Ack, Connect))


@pytest.mark.parametrize("packet", [one for one in PACKETS[:5] if one != b'2["x",%b]'])
def test_too_many_values(packet: bytes) -> None:
    """Nobody sends so many values at once; in a usual event they are its reader's to judge."""
    with pytest.raises(InvalidPacket):
        Decoder().text(packet % (b"[" + b"1," * MOST_VALUES + b"1]"))


@pytest.mark.parametrize("rest", [b",{}]", b"]", b",1,2]"])
def test_names_of_events(rest: bytes) -> None:
    """A name may be long, but not without bound."""
    longest = b"n" * LONGEST_NAME
    event = Decoder().text(b'2["' + longest + b'"' + rest)
    assert isinstance(event, EventPacket)
    assert event.name == longest.decode()
    with pytest.raises(InvalidPacket):
        Decoder().text(b'2["n' + longest + b'"' + rest)


def test_namespaces() -> None:
    """The same is true of namespaces, which are repeated to the client that asks for one."""
    longest = b"/" + b"n" * (LONGEST_NAME - 1)
    assert Decoder().text(b"0" + longest) == Connect(longest.decode(), None)
    with pytest.raises(InvalidPacket):
        Decoder().text(b"0" + longest + b"n,")


@pytest.mark.parametrize(
    "packet", [b'2["x",%b{}]', b'2["x",{},%b{}]', b"3[{}%b]", b'2["x"%b,{}]', b'21["y",%b[1],"z"]']
)
def test_arguments_keep_nothing_else(packet: bytes) -> None:
    """An argument does not keep the rest of a packet in memory, of which it is a small part."""
    text = packet % (b" " * 1_000_000)
    tracemalloc.start()
    try:
        decoded = Decoder().text(text)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(decoded, (EventPacket, Ack))
    assert kept < 100_000


def nested(levels: int, inner: Any, *, named: bool = False) -> Any:
    for _ in range(levels):
        inner = {"x": inner} if named else [inner]
    return inner


@pytest.mark.parametrize("inner", [Attachment(b"x"), 1.0, "\ud800"])
@pytest.mark.parametrize("levels", [DEEPEST, 500, 100_000])
@pytest.mark.parametrize("named", [True, False])
def test_outgoing(inner: Any, levels: int, named: bool) -> None:
    """What a program sends may not nest more deeply either, where that has to be walked."""
    for encode in (lambda value: encode_event("x", value), lambda value: encode_ack(1, [value])):
        with pytest.raises(ValueError, match="nests"):
            innermost = inner if not isinstance(inner, Attachment) else [inner, 1.0]
            encode(nested(levels + 1, innermost, named=named))


def test_outgoing_raw() -> None:
    """What is JSON already is passed on as it is."""
    deep = Raw(b"[" * DEEPEST + b"]" * DEEPEST)
    assert encode_event("x", deep).text == b'42["x",' + bytes(deep) + b"]"
