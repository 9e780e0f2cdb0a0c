"""The client's side of Engine.IO, and its reading of packets (realtime.md A.3, A.6, A.11)."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from happy.client._engine import Engine
from happy.client._packets import Kind, Packet, decode_packet
from happy.wire.outgoing import (
    encode_ack,
    encode_connect,
    encode_connect_error,
    encode_disconnect,
    encode_event,
)

OPEN = b'0{"sid":"x","upgrades":[],"pingInterval":15000,"pingTimeout":45000,"maxPayload":1000000}'


class Wire:
    """A connection that notes what happens to it."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.ended: list[str] = []

    def send(self, text: bytes) -> None:
        self.sent.append(text)

    def close(self) -> None:
        self.ended.append("close")

    def abort(self) -> None:
        self.ended.append("abort")


class Program:
    """A program that notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def opened(self) -> None:
        self.heard.append("opened")

    def packet(self, packet: Packet) -> None:
        self.heard.append(packet)

    def lost(self, reason: str) -> None:
        self.heard.append(reason)


def engine() -> tuple[Engine, Wire, Program, Clock]:
    """An engine among fakes."""
    wire, program, clock = Wire(), Program(), Clock()
    made = Engine(wire, clock)
    made.program = program
    return made, wire, program, clock


def test_answers_pings() -> None:
    """Every ping is answered with a pong."""
    made, wire, program, _ = engine()
    made.received(OPEN)
    made.received(b"2")
    made.received(b"2")
    assert wire.sent == [b"3", b"3"]
    assert program.heard == ["opened"]


def test_silence_ends_the_connection() -> None:
    """A server that sends no ping for interval plus timeout is given up; each ping starts anew."""
    made, wire, program, clock = engine()
    made.received(OPEN)
    clock.advance(59)
    made.received(b"2")
    clock.advance(59)
    assert wire.ended == []
    clock.advance(1)
    assert wire.ended == ["abort"]
    made.lost("whatever the network says")
    assert program.heard == ["opened", "ping timeout"]


def test_loss_stops_the_clock() -> None:
    """A connection that is gone leaves nothing to wait for."""
    made, _, program, clock = engine()
    made.received(OPEN)
    made.lost("transport close")
    assert clock.getDelayedCalls() == []
    assert program.heard[-1] == "transport close"


@pytest.mark.parametrize("text", [b"", b"x", b"4", b"4abc", b"49", b'0{"sid":1}', b"42notjson"])
def test_garbage_ends_the_connection(text: bytes) -> None:
    """What is no packet ends the connection, and nothing after it counts."""
    made, wire, program, _ = engine()
    made.received(text)
    made.received(b'42["update",{}]')
    made.lost("connection was aborted")
    assert wire.ended == ["abort"]
    assert program.heard == ["parse error"]


def test_own_close() -> None:
    """After closing, what still comes is ignored, and the reason is the one that was given."""
    made, wire, program, _ = engine()
    made.close("done")
    made.received(b'42["update",{}]')
    made.lost("transport close")
    assert wire.ended == ["close"]
    assert program.heard == ["done"]


def test_packets_without_meaning_are_ignored() -> None:
    """A noop and other Engine.IO packets change nothing."""
    made, wire, program, _ = engine()
    made.received(b"6")
    made.received(b"3")
    assert (wire.sent, wire.ended, program.heard) == ([], [], [])


@pytest.mark.parametrize(
    ("encoded", "packet"),
    [
        (encode_connect("abc"), Packet(Kind.CONNECT, None, {"sid": "abc"})),
        (encode_connect_error("no"), Packet(Kind.CONNECT_ERROR, None, {"message": "no"})),
        (encode_disconnect(), Packet(Kind.DISCONNECT, None, None)),
        (encode_event("update", {"a": "ü"}), Packet(Kind.EVENT, None, ["update", {"a": "ü"}])),
        (encode_event("rpc-request", 1, ack_id=12), Packet(Kind.EVENT, 12, ["rpc-request", 1])),
        (encode_ack(0), Packet(Kind.ACK, 0, [])),
        (encode_ack(7, [{"ok": True}]), Packet(Kind.ACK, 7, [{"ok": True}])),
    ],
    ids=lambda value: getattr(getattr(value, "kind", None), "name", ""),
)
def test_reads_what_the_server_writes(encoded: Any, packet: Packet) -> None:
    """Every kind of packet that the server encodes is read back."""
    assert decode_packet(encoded.text[1:]) == packet


def test_namespaces_are_skipped() -> None:
    """A named main namespace changes nothing."""
    assert decode_packet(b'2/,7["a"]') == Packet(Kind.EVENT, 7, ["a"])
    assert decode_packet(b"1/") == Packet(Kind.DISCONNECT, None, None)
