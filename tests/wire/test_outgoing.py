"""Socket.IO packets on their way out (realtime.md A.11)."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from msgspec import Raw

from happy.wire.engineio import encode_payload
from happy.wire.jsontext import Attachment, encode_json
from happy.wire.outgoing import (
    begin_ack,
    begin_event,
    encode_ack,
    encode_connect,
    encode_connect_error,
    encode_disconnect,
    encode_event,
)
from tests.strategies import (
    wild_json_values,
)
from tests.wire.test_socketio import decode, returned


class TestOutgoing:
    def test_forms(self) -> None:
        """The packets, letter by letter."""
        assert encode_event("e").text == b'42["e"]'
        assert encode_event("e", 1, "é", None, namespace="/n", ack_id=3).text == (
            '42/n,3["e",1,"é",null]'.encode()
        )
        assert encode_ack(0).text == b"430[]"
        assert encode_connect("s").text == b'40{"sid":"s"}'
        assert encode_connect_error("no", "/n").text == b'44/n,{"message":"no"}'
        assert (encode_disconnect().text, encode_disconnect("/n").text) == (b"41", b"41/n,")

    def test_attachments_are_numbered_depth_first(self) -> None:
        """Binary data is taken out in the order in which a reader meets it."""
        packet = encode_event("e", {"a": [Attachment(b"1")], "b": Attachment(b"2")}, Attachment(b"3"))
        hole = '{"_placeholder":true,"num":%d}'
        assert packet.text.decode() == f'453-["e",{{"a":[{hole % 0}],"b":{hole % 1}}},{hole % 2}]'
        assert packet.attachments == (b"1", b"2", b"3")
        assert returned(encode_ack(7, [Attachment(b"x")])) == decode(
            b"61-7[" + (hole % 0).encode() + b"]", b"x"
        )

    def test_json_given_as_json(self) -> None:
        """Raw is JSON already, and stays as it is."""
        assert encode_event("e", Raw(b'{"a": 1.0}'), Raw(b"[ ]")).text == b'42["e",{"a": 1.0},[ ]]'

    @pytest.mark.parametrize(
        "value",
        [b"{}", bytearray(b"1"), memoryview(b"1"), {"a": [(b"1",)]}, {1.5: {2: b""}}, {b"1"}, object(), 1j],
    )
    def test_no_json_form(self, value: Any) -> None:
        """What JSON cannot carry is refused, wherever it stands; bytes do not become text by themselves."""
        for give in (lambda: encode_event("e", value), lambda: encode_ack(1, [0.5, value])):
            with pytest.raises(TypeError, match="JSON form"):
                give()

    def test_attachment_in_a_refusal(self) -> None:
        """A CONNECT_ERROR has no binary form."""
        with pytest.raises(TypeError):
            encode_connect_error("no", data={"a": Attachment(b"1")})
        assert encode_connect_error("no", data=[1.0]).text == b'44{"message":"no","data":[1]}'

    @pytest.mark.parametrize("namespace", ["", "n", "n/", "/a,b", "/\ud800"])
    def test_no_namespace(self, namespace: str) -> None:
        """What clients could not read as a namespace is none."""
        with pytest.raises(ValueError, match="namespace|surrogates"):
            encode_event("e", namespace=namespace)

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (math.nan, b"null"),
            (math.inf, b"null"),
            (-math.inf, b"null"),
            (1.0, b"1"),
            (-0.0, b"0"),
            (123456789.0, b"123456789"),
            (1e21, b"1e21"),
            (0.5, b"0.5"),
            ({"a": [2.0, "x.0"], "b": math.nan}, b'{"a":[2,"x.0"],"b":null}'),
            ("\ud800", rb'"\ud800"'),
            ("é\ud800😀\udc00", '"é\\ud800😀\\udc00"'.encode()),
            ({"\udfff": 1.0}, rb'{"\udfff":1}'),
            ('"\\\n\x1e\u2028', '"\\"\\\\\\n\\u001e\u2028"'.encode()),
            ((1, (2,)), b"[1,[2]]"),
        ],
    )
    def test_json_as_javascript_writes_it(self, value: Any, text: bytes) -> None:
        """Not-a-number, whole floats and lone surrogates go out as clients expect them."""
        assert encode_json(value, []) == text

    def test_structs_may_hold_anything(self) -> None:
        """Attachments, raw JSON and odd floats work inside of Structs too, each counted once."""

        class Body(msgspec.Struct, rename="camel"):
            raw_part: Raw
            number: float
            data: Attachment

        attachments: list[bytes] = [b"before"]
        text = encode_json(Body(Raw(b"[1.0]"), 2.0, Attachment(b"x")), attachments)
        assert text == b'{"rawPart":[1.0],"number":2,"data":{"_placeholder":true,"num":1}}'
        assert attachments == [b"before", b"x"]

    @given(wild_json_values)
    def test_any_value_is_json_that_javascript_reads_alike(self, value: Any) -> None:
        """Whatever strings and numbers there are, a JSON parser gets the same values."""
        text = encode_json(value, [])
        text.decode()
        assert json.loads(text) == value


class Fractions(msgspec.Struct):
    """May write a fraction of its own."""

    share: float


class Plain(msgspec.Struct):
    """Writes none of its own; what it carries stays as it is."""

    name: str
    data: msgspec.Raw | None = None


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Fractions(1.0), b'{"share":1}'),
        (Plain("1.0", msgspec.Raw(b"2.0")), b'{"name":"1.0","data":2.0}'),
        (Plain("\ud800"), rb'{"name":"\ud800","data":null}'),
        ([1.0, 0.5], b"[1,0.5]"),
        (msgspec.Raw(b"1.0"), b"1.0"),
        (3.0, b"3"),
    ],
)
def test_fractions(value: object, written: bytes) -> None:
    """Whole numbers lose their fraction, except in what is encoded already."""
    assert encode_event("e", value).text == b'42["e",' + written + b"]"


@pytest.mark.parametrize("size", [0, 100, 65_524, 65_525, 70_000])
def test_gathered(size: int) -> None:
    """A packet that comes part by part is the same as one made at once, on every transport."""
    argument, namespace = "x" * size, "/n"
    event, ack = begin_event("e", namespace), begin_ack(5)
    event.add(b",")
    for packet in (event, ack):
        packet.add(b'"' + argument[: size // 2].encode())
        packet.add(argument[size // 2 :].encode() + b'"')
    event.finish(b",1]")
    ack.finish(b"]")
    for packet, same in (
        (event, encode_event("e", argument, 1, namespace=namespace)),
        (ack, encode_ack(5, [argument])),
    ):
        assert (packet.frames, bytes(packet.text)) == (same.frames, same.text)
        assert bytes(encode_payload([packet])) == same.text
        assert encode_payload([packet, same]) == same.text + b"\x1e" + same.text
