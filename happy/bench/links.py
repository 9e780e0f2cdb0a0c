"""Realtime sockets of the load tool: WebSocket, Engine.IO and Socket.IO in one thin layer."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from happy.bench import frames
from happy.bench.loop import Loop, Promise
from happy.bench.streams import Sources, Stream, Target

PATH = "/v1/updates/?EIO=4&transport=websocket"
_END_OF_HEADERS = b"\r\n\r\n"
_PING = b"2"
_PONG = b"3"
_PROBABLY_LARGEST_HEAD = 16384


class Refused(Exception):
    """The server did not let a socket in; the text says why."""


class Link(Stream):
    """One socket. ``joined`` comes true once it is logged in, or fails with Refused.

    ``heard`` gets every Socket.IO packet after that, as the payload of its frame, beginning with the
    Engine.IO type ``4``. ``lost`` is called with a reason when the connection ends without our doing.
    """

    def __init__(
        self,
        loop: Loop,
        target: Target,
        sources: Sources,
        login: Mapping[str, str],
        heard: Callable[[bytes], None],
        lost: Callable[[str], None] | None = None,
    ) -> None:
        self.joined: Promise[None] = Promise()
        self.heard = heard
        self._in = False
        self._lost = lost
        self._login = b"40" + msgspec.json.encode(login)
        self._random = os.urandom(20)
        self.key = self._random[:4]
        self._rest = b""
        self._fragments: list[bytes] = []
        self._take = self._handshake
        super().__init__(loop, target, sources)

    @property
    def target(self) -> Target:
        """The server that it is connected to."""
        return self._target

    # Sending

    def send_text(self, payload: bytes) -> None:
        """Send a packet."""
        self.write(frames.encode(frames.TEXT, payload, self.key))

    def emit(self, name: str, value: Any, ack: int | None = None) -> None:
        """Send an event with one argument."""
        number = b"" if ack is None else b"%d" % ack
        self.send_text(b"42" + number + msgspec.json.encode((name, value)))

    def template(self, before: bytes, width: int, after: bytes) -> frames.Template:
        """A packet in which only ``width`` bytes differ each time."""
        return frames.Template(before, width, after, self.key)

    # The connection

    def opened(self) -> None:
        """Ask for a WebSocket."""
        key = base64.b64encode(self._random[4:])
        request = (
            f"GET {PATH} HTTP/1.1",
            f"Host: {self._target.authority}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key.decode()}",
            "Sec-WebSocket-Version: 13",
        )
        self.write("\r\n".join(request).encode() + _END_OF_HEADERS)

    def received(self, data: bytes) -> None:
        """Take whole frames out of the stream."""
        if self._rest:
            data = self._rest + data
        self._take(data)

    def _handshake(self, data: bytes) -> None:
        head, end, rest = data.partition(_END_OF_HEADERS)
        if not end:
            self._rest = data
            if len(data) > _PROBABLY_LARGEST_HEAD:
                self._give_up("no HTTP answer")
            return
        if problem := _problem(head, base64.b64encode(self._random[4:])):
            self._give_up(problem)
            return
        self._take = self._frames
        self._frames(rest)

    def _frames(self, data: bytes) -> None:
        lone = frames.lone_text(data)
        if lone is not None:
            self._rest = b""
            self._packet(lone)
            return
        try:
            whole, self._rest = frames.split(data)
        except frames.Unreadable as error:
            self._give_up(str(error))
            return
        for first, payload in whole:
            if first == frames.FINAL_TEXT:
                self._packet(payload)
            else:
                self._other_frame(first, payload)

    def _other_frame(self, first: int, payload: bytes) -> None:
        opcode = first & 0x0F
        if opcode == frames.PING:
            self.write(frames.encode(frames.PONG, payload, self.key))
        elif opcode == frames.CLOSE:
            code = int.from_bytes(payload[:2], "big") if len(payload) > 1 else "no code"
            self._give_up(f"closed by the server ({code})")
        elif opcode in {frames.TEXT, frames.CONTINUATION}:
            self._fragments.append(payload)
            if first & frames.FINAL:
                whole, self._fragments = b"".join(self._fragments), []
                self._packet(whole)

    def _packet(self, payload: bytes) -> None:
        if payload == _PING:
            self.send_text(_PONG)
        elif self._in:
            self.heard(payload)
        elif payload.startswith(b"40"):
            self._in = True
            self.joined.keep(None)
        elif payload.startswith(b"44"):
            self._give_up(f"login refused: {_message(payload[2:])}")
        elif payload.startswith(b"0"):
            self.send_text(self._login)

    def _give_up(self, reason: str) -> None:
        self.close()
        self.closed(reason)

    def closed(self, reason: str) -> None:
        """Tell whoever waits for the login, or whoever listens."""
        if not self.joined.done:
            self.joined.fail(Refused(reason))
        elif self._lost is not None:
            self._lost(reason)


def _problem(head: bytes, key: bytes) -> str | None:
    """Why an answer is no WebSocket for us."""
    lines = head.split(b"\r\n")
    status = lines[0].split(b" ", 2)
    if len(status) < 2 or not status[0].startswith(b"HTTP/1."):
        return "not an HTTP server"
    if status[1] != b"101":
        return f"WebSocket refused: {lines[0].decode('latin-1')}"
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
    if headers.get(b"sec-websocket-accept") != frames.accept_token(key):
        return "not a WebSocket server"
    return None


def _message(payload: bytes) -> str:
    try:
        return str(msgspec.json.decode(payload)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return "no reason given"
