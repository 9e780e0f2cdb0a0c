"""A third party on a loopback socket that answers with exactly the bytes a test dictates."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


def answer(body: bytes | str | object, status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    """A complete HTTP answer; anything but bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Length": str(len(content)), "Content-Type": "application/json", **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + content


class Conversation(Protocol):
    """One connection to the stand-in."""

    def __init__(self, standin: StandIn) -> None:
        self._standin = standin
        self._received = b""

    def connectionMade(self) -> None:
        self._standin.open.append(self)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        head, complete, body = self._received.partition(b"\r\n\r\n")
        if not complete:
            return
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        if len(body) < int(headers.get("content-length", 0)):
            return
        self._received = b""
        method, target, _ = first.split(" ")
        self._standin.received(self, Asked(method, target, headers, body))

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._standin.gone(self)


class StandIn:
    """Listens on a free port, with TLS as ``localhost`` if a context is given.

    ``script`` maps a request to bytes, or writes to the connection itself. ``asked`` are the requests so
    far, ``open`` the connections not yet closed.
    """

    def __init__(self, script: Callable[[Asked, Any], bytes | None], tls: Any = None) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.open: list[Conversation] = []
        self._waiting: list[Deferred[None]] = []
        factory = Factory.forProtocol(lambda: Conversation(self))  # type: ignore[arg-type]
        listen = reactor.listenTCP if tls is None else partial(reactor.listenSSL, contextFactory=tls)
        self._port = listen(0, factory, interface="127.0.0.1")
        origin = "http://127.0.0.1" if tls is None else "https://localhost"
        self.url = f"{origin}:{self._port.getHost().port}"

    def received(self, conversation: Conversation, asked: Asked) -> None:
        self.asked.append(asked)
        assert conversation.transport is not None
        reply = self.script(asked, conversation.transport)
        if reply is not None:
            conversation.transport.write(reply)

    def gone(self, conversation: Conversation) -> None:
        self.open.remove(conversation)
        if not self.open:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)

    async def deserted(self) -> None:
        """Wait until no connection is open."""
        if self.open:
            self._waiting.append(waiting := Deferred())
            await waiting

    def hang_up(self) -> None:
        """End every connection, and from now on each as soon as it has asked."""
        self.script = lambda asked, transport: transport.loseConnection()
        for conversation in self.open:
            assert conversation.transport is not None
            conversation.transport.loseConnection()

    async def close(self) -> None:
        """Stop listening, and see every connection closed."""
        await self._port.stopListening()
        for conversation in list(self.open):
            assert conversation.transport is not None
            conversation.transport.loseConnection()
        await self.deserted()
