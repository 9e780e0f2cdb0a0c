"""Client frames against other people's parsers, and the parser of server frames against other makers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameDecoder, FrameProtocol, Opcode

from happy.bench import frames
from happy.wire.frames import encode_frame

KEYS = st.binary(min_size=4, max_size=4)
SIZES = st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, 70000]) | st.integers(0, 2000)


def read_by_server(data: bytes) -> tuple[Opcode, bytes]:
    """What wsproto's server side makes of one whole frame."""
    decoder = FrameDecoder(client=False)
    decoder.receive_bytes(data)
    opcode, payload = None, b""
    while (frame := decoder.process_buffer()) is not None:
        opcode = opcode or frame.opcode
        payload += bytes(frame.payload)
        if frame.message_finished:
            return opcode, payload
    raise AssertionError("the frame is not whole")


@given(SIZES.map(lambda size: bytes(number % 251 for number in range(size))), KEYS)
def test_a_server_reads_what_is_encoded(payload: bytes, key: bytes) -> None:
    """A frame of any size is read back as it was."""
    assert read_by_server(frames.encode(frames.BINARY, payload, key)) == (Opcode.BINARY, payload)


@given(st.binary(max_size=300), KEYS, st.integers(0, 300))
def test_masking_in_parts(payload: bytes, key: bytes, cut: int) -> None:
    """Masking part by part is masking the whole, and masking again undoes it."""
    whole = frames.mask(payload, key)
    assert frames.mask(payload[:cut], key) + frames.mask(payload[cut:], key, cut) == whole[: len(payload)]
    assert frames.mask(whole, key) == payload


@given(st.binary(max_size=200), st.binary(max_size=40), st.binary(max_size=200), KEYS)
def test_a_template_is_the_message(before: bytes, part: bytes, after: bytes, key: bytes) -> None:
    """A filled template is the frame of the whole text."""
    template = frames.Template(before, len(part), after, key)
    assert template.fill(part) == frames.encode(frames.TEXT, before + part + after, key)


@given(st.lists(st.binary(max_size=300) | SIZES.map(bytes), max_size=6), st.data())
def test_frames_of_the_server_in_any_pieces(payloads: list[bytes], data: st.DataObject) -> None:
    """However the stream is cut, the same frames come out, each as soon as it is whole."""
    stream = b"".join(encode_frame(0x2, payload) for payload in payloads)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    found, rest = [], b""
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        more, rest = frames.split(rest + stream[begin:end])
        found += more
    assert found == [(0x82, payload) for payload in payloads]
    assert rest == b""


@given(st.binary(max_size=400), st.binary(max_size=3))
def test_one_text_frame_at_once(payload: bytes, more: bytes) -> None:
    """The short way of the common case is taken for nothing else, and tells the same."""
    data = encode_frame(0x1, payload) + more
    lone = frames.lone_text(data)
    assert lone == (payload if len(payload) > 125 and not more else None)
    if lone is not None:
        assert frames.split(data) == ([(frames.FINAL_TEXT, lone)], b"")


@given(st.binary(max_size=200))
def test_frames_of_another_maker(payload: bytes) -> None:
    """Frames as wsproto's server side sends them are read."""
    sent = bytes(FrameProtocol(client=False, extensions=[]).send_data(payload, fin=True))
    assert frames.split(sent) == ([(0x82, payload)], b"")


@pytest.mark.parametrize("data", [b"\x81\x81abcdx", b"\x81\xfe\x00", b"\xc1\x01x"])
def test_broken_frames(data: bytes) -> None:
    """A masked frame, or one with reserved bits, is refused."""
    with pytest.raises(frames.Unreadable):
        frames.split(data)


def test_accept_token() -> None:
    """The answer to a key is that of the standard's example."""
    assert frames.accept_token(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
