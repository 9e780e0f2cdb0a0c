"""Socket.IO packets both ways, and the namespaces of a connection."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.wire import incoming
from happy.wire.engineio import EncodedPacket, InvalidPacket
from happy.wire.incoming import (
    RESERVED,
    Ack,
    Arguments,
    ClientPacket,
    Connect,
    Decoder,
    Disconnect,
    EventPacket,
)
from happy.wire.jsontext import Attachment, decode_json
from happy.wire.outgoing import (
    encode_ack,
    encode_connect,
    encode_disconnect,
    encode_event,
)
from tests.strategies import (
    ack_ids,
    argument_lists,
    event_names,
    json_values,
    namespaces,
    texts,
    wild_json_values,
    within_cap,
)


def decode(text: bytes, *binary: bytes) -> ClientPacket | None:
    """One packet from a client, ``text`` without the Engine.IO type."""
    decoder = Decoder()
    packet = decoder.text(text)
    for data in binary:
        packet = decoder.binary(data)
    return packet


def returned(packet: EncodedPacket) -> ClientPacket | None:
    """What a client would mean by sending our packet back."""
    return decode(packet.text[1:], *packet.attachments)


def as_bytes(arguments: Arguments | None) -> tuple[bytes, ...]:
    assert arguments is not None
    return tuple(map(bytes, arguments))


class TestRoundTrips:
    @given(event_names, argument_lists.filter(within_cap), namespaces, st.none() | ack_ids)
    def test_event(self, name: str, arguments: list[Any], namespace: str, ack_id: int | None) -> None:
        """An event comes back as it was: name, arguments, binary data, namespace, ack id."""
        packet = returned(encode_event(name, *arguments, namespace=namespace, ack_id=ack_id))
        assert isinstance(packet, EventPacket)
        assert (packet.namespace, packet.name, packet.ack_id) == (namespace, name, ack_id)
        assert packet.arguments.values() == arguments

    @given(ack_ids, argument_lists.filter(within_cap), namespaces)
    def test_ack(self, ack_id: int, arguments: list[Any], namespace: str) -> None:
        """So does an acknowledgement."""
        packet = returned(encode_ack(ack_id, arguments, namespace))
        assert isinstance(packet, Ack)
        assert (packet.namespace, packet.ack_id) == (namespace, ack_id)
        assert packet.arguments is not None
        assert packet.arguments.values() == arguments

    @given(namespaces)
    def test_disconnect(self, namespace: str) -> None:
        """So does a disconnect."""
        assert returned(encode_disconnect(namespace)) == Disconnect(namespace)

    @given(texts, namespaces)
    def test_connect(self, sid: str, namespace: str) -> None:
        """The CONNECT reply holds the sid and nothing else."""
        packet = returned(encode_connect(sid, namespace))
        assert isinstance(packet, Connect)
        assert (packet.namespace, decode_json(packet.auth or b"")) == (namespace, {"sid": sid})

    @given(st.lists(json_values, max_size=4))
    def test_raw_arguments_pass_unchanged(self, values: list[Any]) -> None:
        """Arguments are split, not rewritten, whatever the spacing."""
        spaced = [json.dumps(value, indent=1).encode() for value in values]
        packet = decode(b'2 [ "x"' + b"".join(b"\n,  " + text for text in spaced) + b" ] ")
        assert isinstance(packet, EventPacket)
        assert as_bytes(packet.arguments) == tuple(spaced)
        again = encode_event("x", *packet.arguments).text
        assert again == b'42["x"' + b"".join(b"," + text for text in spaced) + b"]"


class TestIncoming:
    @pytest.mark.parametrize(
        ("text", "packet"),
        [
            (b"0", Connect("/", None)),
            (b"0/", Connect("/", None)),
            (b"0/custom", Connect("/custom", None)),
            (b"0/custom,", Connect("/custom", None)),
            (b"0/?token=1,2", Connect("/?token=1", None)),
            (b"0/a?token=1", Connect("/a?token=1", None)),
            (b"1", Disconnect("/")),
            (b"1/custom", Disconnect("/custom")),
            (b"1/custom,", Disconnect("/custom")),
            (b"2", EventPacket("/", None, Arguments(), None)),
            (b"29", EventPacket("/", None, Arguments(), 9)),
            (b"2[1,2]", EventPacket("/", None, Arguments(), None)),
            (b"2[-1.5]", EventPacket("/", None, Arguments(), None)),
            (b'2["error"]', EventPacket("/", "error", Arguments(), None)),
            (b'2007["x"]', EventPacket("/", "x", Arguments(), 7)),
            (b'29007199254740991["x"]', EventPacket("/", "x", Arguments(), 2**53 - 1)),
            (b"3", Ack("/", None, None)),
            (b"35", Ack("/", 5, None)),
            (b"3[]", Ack("/", None, Arguments())),
            (b"3/a,12[]", Ack("/a", 12, Arguments())),
        ],
    )
    def test_accepted(self, text: bytes, packet: ClientPacket) -> None:
        """Namespace, ack id and payload are each optional."""
        assert decode(text) == packet

    @pytest.mark.parametrize("auth", [b'{"token":"x"}', b' {"a": [1]} ', b"{}"])
    def test_connect_data(self, auth: bytes) -> None:
        """The auth object is handed on as it stands."""
        packet = decode(b"0/n," + auth)
        assert isinstance(packet, Connect)
        assert bytes(packet.auth or b"") == auth

    @pytest.mark.parametrize(
        "text",
        [b"", b"7", b"8", b"a", b"abc", b"0null", b"0[]", b'0"x"', b'0{"a"', b"0{}x", b"01,5{"]
        + [b"1{}", b'1"x"', b"1[]", b"2{}", b'2"x"', b"2[]", b"2[null]", b"2[{}]", b"2[true]", b"2notjson"]
        + [b'21.5["x"]', b'2-1["x"]', b'2abc["x"]', b'21-["x"]', b"31{}", b"3null", b'4{"message":"x"}', b"4"]
        + [b'5["x"]', b'5x-["x"]', b'5-["x"]', b"511-[]", b"6[]", b'2["x",]', b'2["x"', b'2["x"]]', b"2[NaN]"]
        + [b'2["x",\x00]', b'2["\x01"]', b'2["x","\xff"', b'2["\xff"]', b'2["x",01]', b"\xff", b'51-{"a":1}']
        + [b"2" + b"9" * 5000 + b'["x"]', b'2["x",' + b"[" * 100000 + b"]" * 100000 + b"]"]
        + [b'2["%s"]' % name.encode() for name in sorted(RESERVED)],
    )
    def test_violations(self, text: bytes) -> None:
        """What no well-behaved client sends is refused as a whole."""
        with pytest.raises(InvalidPacket):
            decode(text)

    @given(wild_json_values, wild_json_values)
    def test_lone_surrogates_pass(self, first: Any, second: Any) -> None:
        """Escaped lone surrogates stay in the raw arguments."""
        texts = json.dumps(first).encode(), json.dumps(second).encode()
        packet = decode(b'2["x", ' + texts[0] + b" , " + texts[1] + b"]")
        assert isinstance(packet, EventPacket)
        assert as_bytes(packet.arguments) == texts

    def test_lone_surrogates_in_what_is_interpreted(self) -> None:
        """In names and auth data they count as U+FFFD, of which UTF-8 can be made."""
        event = decode(rb'2["a\ud800\\ud800\ud83d\ude00"]')
        assert isinstance(event, EventPacket)
        assert event.name == "a\ufffd\\ud800😀"
        connect = decode(rb'0{"token":"\udfff"}')
        assert isinstance(connect, Connect)
        assert connect.auth is not None
        assert bytes(connect.auth) == rb'{"token":"\ufffd"}'

    @given(st.binary(max_size=80))
    def test_any_bytes(self, text: bytes) -> None:
        """Whatever comes is a packet or a violation, and nothing worse."""
        try:
            decode(b"2" + text)
            decode(text)
        except InvalidPacket:
            pass


class TestBinary:
    HOLE = b'{"_placeholder":true,"num":%d}'

    def test_attachments_complete_a_packet(self) -> None:
        """The packet is there when its last attachment is."""
        decoder = Decoder()
        assert decoder.text(b'52-/n,3["x",[%s],%s]' % (self.HOLE % 1, self.HOLE % 0)) is None
        assert decoder.binary(b"a") is None
        packet = decoder.binary(b"b")
        assert isinstance(packet, EventPacket)
        assert (packet.namespace, packet.name, packet.ack_id) == ("/n", "x", 3)
        assert packet.arguments.attachments == (b"a", b"b")
        assert packet.arguments.values() == [[Attachment(b"b")], Attachment(b"a")]

    def test_no_attachments_announced(self) -> None:
        """A count of zero is delivered at once, and the next packet is an ordinary one."""
        decoder = Decoder()
        assert decoder.text(b'50-["x"]') == EventPacket("/", "x", Arguments(), None)
        assert decoder.text(b'2["y"]') == EventPacket("/", "y", Arguments(), None)

    def test_decoder_starts_afresh(self) -> None:
        """One binary packet leaves nothing for the next."""
        decoder = Decoder()
        for data in (b"a", b"b"):
            decoder.text(b'51-["x",%s]' % (self.HOLE % 0))
            packet = decoder.binary(data)
            assert isinstance(packet, EventPacket)
            assert packet.arguments.values() == [Attachment(data)]

    def test_text_in_place_of_an_attachment(self) -> None:
        """Nothing may come between."""
        decoder = Decoder()
        decoder.text(b'51-["x",%s]' % (self.HOLE % 0))
        with pytest.raises(InvalidPacket):
            decoder.text(b'2["y"]')

    def test_binary_out_of_nowhere(self) -> None:
        """An attachment must have been announced."""
        with pytest.raises(InvalidPacket):
            Decoder().binary(b"a")

    @pytest.mark.parametrize("number", [b"1", b"-1", b"0.5", b'"0"', b"null", b"true", b"1e3"])
    def test_placeholder_out_of_range(self, number: bytes) -> None:
        """A placeholder must name an attachment that was sent."""
        decoder = Decoder()
        decoder.text(b'51-["x",{"_placeholder":true,"num":%s}]' % number)
        with pytest.raises(InvalidPacket):
            decoder.binary(b"a")

    @pytest.mark.parametrize("flag", [b"false", b"1", b'"true"', b"null"])
    def test_lookalikes_are_data(self, flag: bytes) -> None:
        """An object is a placeholder only if ``_placeholder`` is exactly true."""
        decoder = Decoder()
        decoder.text(b'51-["x",{"_placeholder":%s,"num":7}]' % flag)
        packet = decoder.binary(b"a")
        assert isinstance(packet, EventPacket)
        assert packet.arguments.values() == [{"_placeholder": json.loads(flag), "num": 7}]

    def test_cap(self) -> None:
        """Ten attachments may be announced."""
        decode(b'510-["x"]', *[b""] * 10)
        with pytest.raises(InvalidPacket):
            decode(b'511-["x"]')


HEADS = st.sampled_from(
    [b"2", b"3", b"21", b"3123456789", b"2999999999999", b"5", b"2/a,", b"3/,1", b"2-1", b"4", b""]
)


ELEMENTS = st.sampled_from(
    [
        b'"name"',
        b'"connect"',
        b'"\\ud800"',
        b"1",
        b"null",
        b"true",
        b'{"a":[1.0]}',
        b" [ ] ",
        b'"\xff"',
        b"{",
        b"",
    ]
)


@given(HEADS, st.lists(ELEMENTS, max_size=3), st.sampled_from([b"]", b"] ", b"", b"]x"]))
def test_usual_packets(head: bytes, elements: list[bytes], end: bytes) -> None:
    """The short way to decode usual packets never tells anything else than the general one."""
    data = head + b"[" + b",".join(elements) + end
    usual = incoming._usual(data)
    if usual is not None:
        assert (usual, 0) == incoming._decode(data)


@pytest.mark.parametrize("text", [b'2["name",{"a":1}]', b'212["name",null]', b'30["x"]', b"3[]"])
def test_usual_packets_are_recognised(text: bytes) -> None:
    """The packets that clients send by the thousand take the short way."""
    assert incoming._usual(text) is not None
