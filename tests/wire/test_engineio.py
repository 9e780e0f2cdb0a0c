"""Packets and payloads of Engine.IO, and the checks on requests."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.wire.engineio import (
    CLOSE,
    NOOP,
    PING,
    EncodedPacket,
    EngineProblem,
    EngineSettings,
    InvalidPacket,
    Packet,
    PacketType,
    Refused,
    check_request,
    decode_packet,
    encode_message,
    encode_open,
    encode_payload,
    split_payload,
)
from happy.wire.frames import BINARY, TEXT, encode_frame
from tests.strategies import message_texts

packets = st.one_of(
    st.builds(Packet, st.sampled_from(PacketType), message_texts),
    st.builds(Packet, st.just(PacketType.MESSAGE), st.binary(max_size=40), st.just(True)),
)


def encoded(packet: Packet) -> EncodedPacket:
    if packet.binary:
        return encode_message(packet.data, binary=True)
    return EncodedPacket(bytes([packet.type]) + packet.data)


@given(st.lists(packets.filter(lambda packet: b"\x1e" not in packet.data or packet.binary), min_size=1))
def test_payload_round_trip(sent: list[Packet]) -> None:
    """Whatever is joined into a payload comes out again, in order."""
    body = encode_payload(map(encoded, sent))
    assert [decode_packet(text) for text in split_payload(body)] == sent


def test_binary_in_payloads_is_padded_base64_without_type() -> None:
    """A binary message in a polling body is ``b`` and base64."""
    assert encode_payload([encode_message(b"\1\2\3\4", binary=True), NOOP]) == b"bAQIDBA==\x1e6"


@pytest.mark.parametrize("text", [b"", b"7", b"a", b"x4", b"bA", b"\xff", b" 4"])
def test_undecodable(text: bytes) -> None:
    """An empty packet, an unknown type and broken base64 are no packets."""
    with pytest.raises(InvalidPacket):
        decode_packet(text)


@pytest.mark.parametrize(("body", "empty"), [(b"", 0), (b"4a\x1e", 1), (b"4a\x1e\x1e4b", 1)])
def test_separators_leave_empty_packets(body: bytes, empty: int) -> None:
    """An empty body and a trailing separator hold an empty packet each."""
    with pytest.raises(InvalidPacket):
        decode_packet(split_payload(body)[empty])


def test_base64_without_padding_is_understood() -> None:
    """Clients may leave the padding out."""
    assert decode_packet(b"bAQIDBA") == Packet(PacketType.MESSAGE, b"\1\2\3\4", binary=True)


def test_bodies_that_are_not_utf8_are_mended() -> None:
    """Nothing but UTF-8 gets into text messages: it is passed on to others."""
    assert split_payload(b"4\xff\x1e4b") == ["4\ufffd".encode(), b"4b"]


def test_open_packet() -> None:
    """The open packet has five members in the contract's order, times in milliseconds."""
    packet = encode_open("abc", ("websocket",), EngineSettings())
    assert packet.text == (
        b'0{"sid":"abc","upgrades":["websocket"],"pingInterval":15000,"pingTimeout":45000,"maxPayload":1000000}'
    )


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_frames_carry_their_length(length: int) -> None:
    """A frame is final, unmasked, and gives its length in the shortest form."""
    frame = encode_frame(BINARY, bytes(length))
    header = {True: 2, False: 4 if length < 65536 else 10}[length < 126]
    assert len(frame) == header + length
    assert frame[0] == 0x82
    size = frame[1] if header == 2 else int.from_bytes(frame[2:header], "big")
    assert size == length


def test_frames_of_a_packet_follow_each_other() -> None:
    """A packet's frames are its text and then its attachments."""
    packet = EncodedPacket(b"4x", (b"\1", b""))
    assert packet.frames == encode_frame(TEXT, b"4x") + b"\x82\x01\x01" + b"\x82\x00"
    assert (CLOSE.frames, PING.frames) == (b"\x81\x011", b"\x81\x012")


GOOD = {"EIO": "4", "transport": "polling"}
WS = {"EIO": "4", "transport": "websocket"}


@pytest.mark.parametrize(
    ("method", "query", "upgrade", "origin", "problem"),
    [
        ("GET", {"EIO": "4"}, False, b"", EngineProblem.TRANSPORT_UNKNOWN),
        ("GET", {"EIO": "4", "transport": "carrier-pigeon"}, False, b"", EngineProblem.TRANSPORT_UNKNOWN),
        ("GET", {"transport": "Polling"}, False, b"\x01", EngineProblem.TRANSPORT_UNKNOWN),
        ("GET", {**GOOD, "sid": "nobody"}, False, b"a\x01", EngineProblem.BAD_REQUEST),
        ("GET", {**GOOD, "sid": "nobody"}, False, b"", EngineProblem.UNKNOWN_SID),
        ("POST", {**WS, "sid": "nobody"}, True, b"", EngineProblem.UNKNOWN_SID),
        ("GET", {**WS, "sid": "known"}, False, b"", EngineProblem.BAD_REQUEST),
        ("POST", GOOD, False, b"", EngineProblem.BAD_HANDSHAKE_METHOD),
        ("PUT", {"transport": "polling"}, False, b"", EngineProblem.BAD_HANDSHAKE_METHOD),
        ("GET", WS, False, b"", EngineProblem.BAD_REQUEST),
        ("GET", {"transport": "polling"}, False, b"", EngineProblem.UNSUPPORTED_PROTOCOL_VERSION),
        ("GET", {**GOOD, "EIO": "3"}, False, b"", EngineProblem.UNSUPPORTED_PROTOCOL_VERSION),
        ("GET", {**GOOD, "EIO": "04"}, False, b"", EngineProblem.UNSUPPORTED_PROTOCOL_VERSION),
        ("GET", {**WS, "EIO": "abc"}, True, b"", EngineProblem.UNSUPPORTED_PROTOCOL_VERSION),
    ],
)
def test_refused_requests(
    method: str, query: dict[str, str], upgrade: bool, origin: bytes, problem: EngineProblem
) -> None:
    """Each check fails in the contract's order: transport, origin, sid or method, protocol."""
    with pytest.raises(Refused) as refusal:
        check_request(method, query, upgrade=upgrade, origin=origin, sessions={"known"})
    assert refusal.value.problem is problem


@pytest.mark.parametrize(
    ("method", "query", "upgrade", "sid"),
    [
        ("GET", GOOD, False, None),
        ("GET", {**GOOD, "sid": ""}, False, None),
        ("GET", WS, True, None),
        ("GET", {**GOOD, "sid": "known"}, False, "known"),
        ("POST", {"transport": "polling", "sid": "known"}, False, "known"),
        ("GET", {"EIO": "3", "transport": "websocket", "sid": "known"}, True, "known"),
    ],
)
def test_served_requests(method: str, query: dict[str, str], upgrade: bool, sid: str | None) -> None:
    """An empty sid asks for a new session; EIO does not matter for one that exists."""
    assert check_request(method, query, upgrade=upgrade, origin=b"http://x\xe9", sessions={"known"}) == sid


def test_problem_bodies() -> None:
    """A problem is told as code and message."""
    assert [json.loads(problem.body()) for problem in EngineProblem] == [
        {"code": 0, "message": "Transport unknown"},
        {"code": 1, "message": "Session ID unknown"},
        {"code": 2, "message": "Bad handshake method"},
        {"code": 3, "message": "Bad request"},
        {"code": 4, "message": "Forbidden"},
        {"code": 5, "message": "Unsupported protocol version"},
    ]
