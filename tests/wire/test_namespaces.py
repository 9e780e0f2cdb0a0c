"""What a client may send to a namespace that it has joined, asked for, or left."""

from __future__ import annotations

from typing import Any

import pytest

from happy.wire.engineio import InvalidPacket
from happy.wire.incoming import Ack, Connect, Disconnect, EventPacket
from happy.wire.socketio import TABLE, Membership, Namespaces, PacketFate, UnknownNamespace

PACKETS = {
    Connect: b"0",
    Disconnect: b"1",
    EventPacket: b'2["x"]',
    Ack: b"31[]",
}


def standing(membership: Membership) -> Namespaces:
    """A connection in this relation to the main namespace."""
    namespaces = Namespaces({"/", "/custom"})
    if membership is not Membership.OUT:
        namespaces.receive(b"0", False)
    if membership is Membership.IN:
        namespaces.admit("/")
    return namespaces


class TestNamespaces:
    @pytest.mark.parametrize("membership", Membership)
    @pytest.mark.parametrize("kind", PACKETS)
    def test_every_standing_with_every_packet(self, membership: Membership, kind: type[Any]) -> None:
        """Each packet passes, is dropped, or is a violation, as the table says."""
        namespaces = standing(membership)
        outcome = TABLE[membership, kind]
        if outcome is PacketFate.CLOSE:
            with pytest.raises(InvalidPacket):
                namespaces.receive(PACKETS[kind], False)
        else:
            packet = namespaces.receive(PACKETS[kind], False)
            assert isinstance(packet, kind if outcome is PacketFate.PASS else type(None))

    def test_answers_may_come_early(self) -> None:
        """An acknowledgement before joining is dropped, and joining works after it."""
        namespaces = standing(Membership.OUT)
        assert namespaces.receive(b'31["late"]', False) is None
        assert namespaces.receive(b"0", False) == Connect("/", None)

    @pytest.mark.parametrize("membership", [Membership.OUT, Membership.ASKED])
    @pytest.mark.parametrize("packet", [b'51-["x"]', b'61-1[{"_placeholder":true,"num":0}]'])
    def test_no_attachments_before_joining(self, membership: Membership, packet: bytes) -> None:
        """Whoever has not joined cannot make us keep anything."""
        namespaces = standing(membership)
        with pytest.raises(InvalidPacket):
            namespaces.receive(packet, False)

    def test_second_connect_while_the_first_is_pending(self) -> None:
        """One question at a time."""
        with pytest.raises(InvalidPacket):
            standing(Membership.ASKED).receive(b"0", False)

    def test_unknown_namespace(self) -> None:
        """Asking for what does not exist harms nothing and may be repeated."""
        namespaces = standing(Membership.OUT)
        assert namespaces.receive(b"0/nowhere,{}", False) == UnknownNamespace("/nowhere")
        assert namespaces.receive(b"0/nowhere,{}", False) == UnknownNamespace("/nowhere")

    def test_namespaces_are_apart(self) -> None:
        """Being in one namespace is nothing to another."""
        namespaces = standing(Membership.IN)
        with pytest.raises(InvalidPacket):
            namespaces.receive(b'2/custom,["x"]', False)
        assert namespaces.receive(b"0/custom", False) == Connect("/custom", None)
        namespaces.admit("/custom")
        assert namespaces.receive(b"1/custom", False) == Disconnect("/custom")
        assert isinstance(namespaces.receive(b'2["x"]', False), EventPacket)

    def test_coming_back(self) -> None:
        """After a refusal or a disconnect a client may ask again."""
        namespaces = standing(Membership.ASKED)
        namespaces.dismiss("/")
        assert namespaces.receive(b"0", False) == Connect("/", None)
        namespaces.admit("/")
        namespaces.receive(b"1", False)
        assert namespaces.receive(b"0", False) == Connect("/", None)
