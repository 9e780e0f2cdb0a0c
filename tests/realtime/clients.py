"""Connected clients without a network: the real Socket and Client on a link that remembers."""

from __future__ import annotations

import itertools
import json
from typing import Any

from happy.base.bounds import Budget
from happy.realtime.client import Client
from happy.realtime.updates import Scope
from happy.socketio.socket import EncodedPacket, Handshake, Socket

_numbers = itertools.count()


class MemoryLink:
    """Keeps what was sent."""

    transport = "websocket"
    queued_bytes = 0

    def __init__(self, memory: Budget) -> None:
        self.packets: list[EncodedPacket] = []
        self.closed = False
        self.holding = memory.open("somebody", self)

    def give_up(self) -> None:
        self.close()

    def pay_as(self, owner: str) -> bool:
        return self.holding.move(owner)

    def send(self, packet: EncodedPacket) -> None:
        self.packets.append(packet)

    def leave(self, namespace: str) -> None:
        """Nothing to forget."""

    def close(self) -> None:
        self.closed = True


def connect(
    account: str, scope: Scope = Scope.USER, subject: str = "", *, memory: Budget | None = None, **facts: Any
) -> Client:
    """An admitted client; its link is ``client.socket._link``. Its calls are numbered from 0."""
    link = MemoryLink(memory or Budget(2**30))
    socket = Socket(f"socket-{next(_numbers)}", "/", Handshake(), link)
    socket.next_call = 0
    socket.pay_as(f"account:{account}")
    client = Client(socket, account, scope, subject=subject, **facts)
    socket.program = client
    return client


def packets(client: Client) -> list[bytes]:
    """The text of every packet sent to the client."""
    return [bytes(packet.text) for packet in client.socket._link.packets]


def events(client: Client) -> list[tuple[str, Any]]:
    """Name and first argument of every event sent to the client."""
    heard = []
    for text in packets(client):
        name, argument = json.loads(text[text.index(b"[") :])[:2]
        heard.append((name, argument))
    return heard


def bodies(client: Client) -> list[Any]:
    """The bodies of the updates, and the ephemerals, that the client heard."""
    return [argument.get("body", argument) for _, argument in events(client)]
