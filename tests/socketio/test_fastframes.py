"""The fast way for frames against Autobahn's own, on whatever bytes a client may send."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from autobahn.websocket.protocol import WebSocketProtocol
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from happy.socketio.fastframes import FastWebSocket
from happy.socketio.reading import ReadingWebSocket
from happy.socketio.shared import EndpointSettings
from happy.socketio.websocket import EngineWebSocket, EngineWebSocketFactory
from happy.wire.frames import TEXT, encode_frame
from tests.socketio.peers import MemoryTransport

LIMIT = 70_000


class Recorder:
    """Stands where the Engine.IO connection is: notes messages, and answers some of them."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def websocket_message(self, websocket: Any, data: bytes, binary: bool) -> None:
        self.notes.append((data, binary))
        if data.startswith(b"close"):
            websocket.close()
        elif data.startswith(b"abort"):
            websocket.abort()
        elif data.startswith(b"echo"):
            websocket.send_frames(encode_frame(TEXT, data))

    def websocket_lost(self, websocket: Any, *, clean: bool) -> None:
        self.notes.append(("lost", clean))


def opened(clock: Clock, *, fast: bool, told: bool) -> tuple[EngineWebSocket, MemoryTransport, Recorder]:
    """A connection that is open; ``told`` if the reactor tells of its turns."""
    kind = FastWebSocket if fast else EngineWebSocket
    settings = EndpointSettings(max_payload=LIMIT, fast_frames=fast)
    factory = EngineWebSocketFactory(settings, clock, kind)
    factory.shared.pace.told = told
    factory.shared.pace.late = not told
    websocket = factory.build()
    transport = MemoryTransport(clock)
    transport.protocol = websocket
    recorder = Recorder()
    websocket.owner = recorder  # type: ignore[assignment]
    websocket.begin(transport, b"dGhlIHNhbXBsZSBub25jZQ==", b"", ())
    transport.clear()
    return websocket, transport, recorder


def run(chunks: list[bytes], *, fast: bool, told: bool = False) -> tuple[Any, ...]:
    """Everything that can be seen of a connection that received these chunks."""
    websocket, transport, recorder = opened(Clock(), fast=fast, told=told)
    for chunk in chunks:
        if transport.connected and not transport.aborted:
            websocket.dataReceived(chunk)
    return recorder.notes, transport.value(), transport.disconnecting, transport.aborted, websocket.state


def frame(first: int, payload: bytes, *, mask: bytes | None = b"\x01\x02\x03\x04", size: int = 0) -> bytes:
    """A client's frame; ``size`` forces a length field of 7, 16 or 64 bits, fitting or not."""
    length = len(payload)
    size = size or (7 if length < 126 else 16 if length < 65536 else 64)
    bit = 0 if mask is None else 0x80
    if size == 7:
        head = bytes([first, bit | min(length, 125)])
    elif size == 16:
        head = bytes([first, bit | 126]) + min(length, 65535).to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + length.to_bytes(8, "big")
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ key for byte, key in zip(payload, itertools.cycle(mask), strict=False))


PAYLOADS = st.one_of(
    st.sampled_from(
        [b"", b"echo", b"echo again", b"close", b"abort", b"\xff", b"\xc3", "é€😀".encode(), b"\xed\xa0\x80"]
    ),
    st.binary(max_size=8),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from([125, 126, 127, 300, 65535, 65536, LIMIT, LIMIT + 1]).map(lambda size: b"x" * size),
)
FIRST = st.sampled_from([0x81] * 6 + [0x82, 0x01, 0x00, 0x80, 0x88, 0x89, 0x8A, 0xC1, 0x83, 0x8B, 0x02])
FRAMES = st.builds(
    frame,
    FIRST,
    PAYLOADS,
    mask=st.sampled_from([b"\x01\x02\x03\x04", b"\0\0\0\0", b"\xff\x80\x7f\x01", None]),
    size=st.sampled_from([0, 0, 0, 0, 7, 16, 64]),
)


@given(
    st.lists(st.one_of(FRAMES, FRAMES, FRAMES, st.binary(max_size=6)), max_size=8),
    st.lists(st.integers(1, 400), max_size=20),
    st.booleans(),
)
def test_same_as_autobahn(frames: list[bytes], cuts: list[int], told: bool) -> None:
    """Messages, replies, closing codes and the state are the same, however the bytes are cut."""
    stream = b"".join(frames)
    chunks, position = [], 0
    for cut in cuts:
        chunks.append(stream[position : position + cut])
        position += cut
    chunks = [chunk for chunk in [*chunks, stream[position:]] if chunk]
    assert run(chunks, fast=True, told=told) == run(chunks, fast=False, told=told)


INNER = frame(0x81, b"echo", mask=b"\0\0\0\0")


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(
    "chunks",
    [
        [frame(0x89, INNER, mask=b"\0\0\0\0")[:6], INNER],
        [frame(0x01, b"begun"), frame(0x81, b"echo")],
        [frame(0x01, b"begun"), frame(0x80, b"ended"), frame(0x81, b"echo")],
        [frame(0x81, b"echo") + frame(0x81, b"cut")[:4], frame(0x81, b"cut")[4:]],
        [frame(0x81, b"echo") + frame(0x8A, b"")],
    ],
)
def test_inside_of_others(chunks: list[bytes], told: bool) -> None:
    """What looks like a frame within another one, or within a message, is not one."""
    assert run(chunks, fast=True, told=told) == run(chunks, fast=False, told=told)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535])
@pytest.mark.parametrize("told", [True, False])
def test_taken(size: int, told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole frame goes past Autobahn; where the reactor tells of its turns, past our base class, too."""
    websocket, _, recorder = opened(Clock(), fast=True, told=told)
    monkeypatch.setattr(WebSocketProtocol, "processData", None)
    if told:
        monkeypatch.setattr(ReadingWebSocket, "dataReceived", None)
    websocket.dataReceived(frame(0x81, b"x" * size))
    assert recorder.notes == [(b"x" * size, False)]


def test_byte_by_byte() -> None:
    """A frame that arrives in single bytes is delivered once, when it is whole."""
    stream = frame(0x81, b"echo one") + frame(0x81, b"y" * 200)
    chunks = [stream[n : n + 1] for n in range(len(stream))]
    notes, written, *_ = run(chunks, fast=True)
    assert notes == [(b"echo one", False), (b"y" * 200, False)]
    assert written == encode_frame(TEXT, b"echo one")
