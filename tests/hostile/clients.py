"""Plain blocking clients for attackers: bytes out, bytes in, and nothing that would hold one back."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any, NamedTuple

END = b"\r\n\r\n"
TEXT, BINARY, CONTINUATION, PING = 1, 2, 0, 9
POLLING = "/v1/updates/?EIO=4&transport=polling"
UPGRADE = (
    b"GET /v1/updates/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_CHUNK = 1 << 18


class Refused(Exception):
    """The server did not let somebody in."""


GONE = (OSError, EOFError, Refused)
"""How a server may treat an attacker."""


class Answer(NamedTuple):
    """An HTTP answer; ``head`` is in lower case."""

    status: int
    head: bytes
    body: bytes

    def json(self) -> Any:
        """The body as a JSON value."""
        return json.loads(self.body)


def head(method: str, path: str, token: str | None = None, length: int | None = None, *more: str) -> bytes:
    """The head of a request with a body of ``length`` bytes, and further header lines."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *more]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if length is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join(lines).encode("latin-1") + END


def request(method: str, path: str, body: bytes = b"", token: str | None = None) -> bytes:
    """A whole request with a JSON body, or none."""
    return head(method, path, token, len(body) if body or method != "GET" else None) + body


class Lane:
    """A connection that is kept for one request after the other. Reading raises EOFError at its end."""

    def __init__(self, plain: socket.socket) -> None:
        self.plain = plain
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Send all of it."""
        self.plain.sendall(data)

    def _more(self) -> bytes:
        """What has been received and not used, and at least a byte more."""
        data = self.plain.recv(_CHUNK)
        if not data:
            raise EOFError("the server closed the connection")
        self._parts.append(data)
        self._size += len(data)
        return data

    def _until(self, size: int) -> bytes:
        while self._size < size:
            self._more()
        return self._joined()

    def _joined(self) -> bytes:
        whole = b"".join(self._parts)
        self._parts = [whole]
        return whole

    def _keep(self, rest: bytes) -> None:
        self._parts, self._size = [rest], len(rest)

    def line(self, end: bytes) -> bytes:
        """Everything up to ``end``, without it."""
        while end not in (whole := self._joined()):
            self._more()
        found, _, rest = whole.partition(end)
        self._keep(rest)
        return found

    def take(self, size: int) -> bytes:
        """So many bytes."""
        whole = self._until(size)
        self._keep(whole[size:])
        return whole[:size]

    def answer(self) -> Answer:
        """The next answer that is final."""
        status = 100
        while status == 100:
            top = self.line(END).lower()
            status = int(top.split(b" ", 2)[1])
        fields = dict(line.partition(b":")[::2] for line in top.split(b"\r\n")[1:])
        if b"content-length" in fields:
            return Answer(status, top, self.take(int(fields[b"content-length"])))
        body: list[bytes] = []
        if fields.get(b"transfer-encoding", b"").strip() == b"chunked":
            while size := int(self.line(b"\r\n"), 16):
                body.append(self.take(size + 2)[:-2])
            self.line(b"\r\n")
        return Answer(status, top, b"".join(body))

    def ask(self, method: str, path: str, body: bytes = b"", token: str | None = None) -> Answer:
        """One request and its answer."""
        self.write(request(method, path, body, token))
        return self.answer()

    def drain(self) -> int:
        """Read to the end; how many bytes that were."""
        count = 0
        while data := self.plain.recv(_CHUNK):
            count += len(data)
        return count

    def close(self) -> None:
        """Close as usual."""
        self.plain.close()

    def reset(self) -> None:
        """Break off: no good-bye, and what is on its way is thrown away."""
        self.plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.plain.close()


def frame(payload: bytes, opcode: int = TEXT, *, final: bool = True) -> bytes:
    """A WebSocket frame under a mask of zeros."""
    first, size = (0x80 if final else 0) | opcode, len(payload)
    if size < 126:
        start = bytes((first, 0x80 | size))
    elif size < 65536:
        start = bytes((first, 0xFE)) + size.to_bytes(2, "big")
    else:
        start = bytes((first, 0xFF)) + size.to_bytes(8, "big")
    return start + bytes(4) + payload


def event(name: str, data: Any, ack: int | None = None) -> bytes:
    """A frame with one event; ``data`` is JSON if it is bytes, else a value."""
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return frame(b'42%s["%s",%s]' % (b"" if ack is None else b"%d" % ack, name.encode(), text))


class Socket(Lane):
    """A WebSocket, at the level of Engine.IO packets; those who read answer pings on the way."""

    def open(self) -> None:
        """The opening handshake. Raises Refused."""
        self.write(UPGRADE)
        top = self.line(END)
        if b" 101 " not in top.split(b"\r\n")[0]:
            raise Refused(top[:60].decode("latin-1"))

    def packet(self) -> bytes:
        """The next packet that is no ping."""
        while True:
            first, size = self.take(2)
            if size > 125:
                size = int.from_bytes(self.take(2 if size == 126 else 8), "big")
            payload = self.take(size)
            if first & 15 == 8:
                raise EOFError("the server closed the WebSocket")
            if payload == b"2":
                self.write(frame(b"3"))
            elif first & 15 < 8:
                return payload

    def until(self, prefix: bytes) -> bytes:
        """The next packet that begins so."""
        while not (packet := self.packet()).startswith(prefix):
            pass
        return packet

    def join(self, token: str, auth: dict[str, Any]) -> None:
        """Log in. Raises Refused."""
        self.until(b"0")
        self.write(frame(b"40" + json.dumps({"token": token, **auth}).encode()))
        if (packet := self.until(b"4")).startswith(b"44"):
            raise Refused(packet[:60].decode("latin-1"))

    def emit(self, name: str, data: Any, ack: int | None = None) -> None:
        """Send an event."""
        self.write(event(name, data, ack))

    def call(self, name: str, data: Any, ack: int = 1) -> Any:
        """Send an event and wait for its acknowledgement."""
        self.emit(name, data, ack)
        prefix = b"43%d[" % ack
        return json.loads(self.until(prefix)[len(prefix) - 1 :])[0]
