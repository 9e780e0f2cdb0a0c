"""Inputs of every kind, as bytes that go to a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.hostile.clients import BINARY, CONTINUATION, PING, TEXT, frame
from tests.nasty import NASTY
from tests.properties.shapes import Make, Random, Shapes, mutated

_BROKEN = 0.003
"""Few events are no JSON at all: those end the socket, and what was sent after them is not looked at."""
_HEADERS = (
    *("X-Happy-Client: cli/1.0.0", "X-Happy-Client: \xff", "Accept-Encoding: gzip", "Connection: close"),
    *("Range: bytes=0-5", "If-None-Match: *", "Origin: http://x", "Cookie: a=b", "X-Forwarded-For: 1.2.3.4"),
    *("Expect: 100-continue", "Accept: */*, */*", "X-Github-Event: push", "X-Hub-Signature-256: sha256=00"),
)
_TYPES = ("application/json",) * 12 + (
    "text/plain",
    "application/x-www-form-urlencoded",
    "x",
    "application/json; charset=utf-16",
)
_TYPES_OF_PACKETS = (
    b"40",
    b"42",
    b"43",
    b"45",
    b"46",
    b"2",
    b"3",
    b"6",
    b"1",
    b"5",
    b"0",
    b"b",
    b"41",
    b"44",
    b"",
)


class Names(NamedTuple):
    """Who asks: a token, and ids that exist."""

    token: str
    ids: tuple[str, ...]


class Endpoint(NamedTuple):
    """A declared operation: ``path`` in pieces with None for a variable, names of its query, maker of its
    body.
    """

    method: str
    path: tuple[str | None, ...]
    query: tuple[str, ...]
    body: Make | None
    statuses: frozenset[int]


class Inputs:
    """Makers of inputs from the documents that a server publishes."""

    def __init__(self, openapi: Mapping[str, Any], asyncapi: Mapping[str, Any], names: Names) -> None:
        self._names = names
        self._shapes = Shapes(openapi, list(names.ids))
        self.endpoints = [
            self._endpoint(method, path, operation)
            for path, methods in openapi["paths"].items()
            for method, operation in methods.items()
        ]
        said = Shapes(asyncapi, list(names.ids))
        messages = asyncapi["channels"]["events"]["messages"]
        self._events = [
            (name.encode(), said.anything(messages[name].get("payload", {}), _BROKEN))
            for name in _sendable(asyncapi)
        ]
        self._login = said.anything(asyncapi["servers"]["this"]["x-handshake"]["auth"])
        self._said = said

    def _endpoint(self, method: str, path: str, operation: Mapping[str, Any]) -> Endpoint:
        pieces = tuple(None if part.startswith("{") else part for part in path.split("/"))
        query = tuple(one["name"] for one in operation.get("parameters", ()) if one["in"] == "query")
        content = operation.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        body = self._shapes.anything(schema) if schema else self._shapes.junk if content else None
        declared = frozenset(int(status) for status in operation["responses"] if status.isdigit())
        return Endpoint(method.upper(), pieces, query, body, declared)

    def request(self, rng: Random) -> tuple[Endpoint, bytes]:
        """A request to a declared endpoint."""
        one = rng.choice(self.endpoints)
        lines = [f"{one.method} {self._target(rng, one)} HTTP/1.1", "Host: x"]
        chance = rng.random()
        if chance < 0.9:
            lines.append(
                f"Authorization: Bearer {self._names.token if chance < 0.85 else self._names.token[:-5]}"
            )
        if rng.random() < 0.1:
            lines.append(rng.choice(_HEADERS))
        body = b""
        if one.body is not None or rng.random() < 0.03:
            body = (one.body or self._shapes.junk)(rng).encode("utf-8", "surrogatepass")
            lines += [f"Content-Type: {rng.choice(_TYPES)}", f"Content-Length: {len(body)}"]
        elif one.method != "GET":
            lines.append("Content-Length: 0")
        return one, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    def _target(self, rng: Random, one: Endpoint) -> str:
        path = "/".join(self._segment(rng) if part is None else part for part in one.path)
        if rng.random() < 0.05:
            path = rng.choice(
                (path + "/", "/" + path, path.upper(), path + "%", path + ";a", path.replace("v", "%76"))
            )
        query = [(name, self._segment(rng)) for name in one.query if rng.random() < 0.6]
        if rng.random() < 0.05:
            query.append((rng.choice(("surplus", "limit", "cursor", "")), self._segment(rng)))
        return path + ("?" + "&".join(f"{name}={value}" for name, value in query) if query else "")

    def _segment(self, rng: Random) -> str:
        """A part of a path, or the value of a query."""
        chance = rng.random()
        if chance < 0.5:
            return quote(rng.choice(self._names.ids), safe="")
        if chance < 0.65:
            return quote(rng.choice(NASTY[:-1]), safe="")
        if chance < 0.9:
            return rng.choice(
                (
                    "0",
                    "-1",
                    "5",
                    "1e2",
                    "0x10",
                    "%207%20",
                    "1e15",
                    "2147483648",
                    "9" * 40,
                    "NaN",
                    "cursor_v1_x",
                )
            )
        return quote(rng.randbytes(rng.randrange(9)))

    def event(self, rng: Random, ack: int) -> bytes:
        """The text of a declared event; the acknowledgement may be left out."""
        name, make = rng.choice(self._events)
        arguments = [make(rng)] if rng.random() < 0.97 else []
        arguments += [self._said.junk(rng) for _ in range(rng.random() < 0.05)]
        number = b"" if rng.random() < 0.1 else b"%d" % ack
        text = ",".join([f'"{name.decode()}"', *arguments]).encode("utf-8", "surrogatepass")
        return b"42%s[%s]" % (number, text)

    def packet(self, rng: Random) -> bytes:
        """An Engine.IO packet that is hardly right."""
        chance = rng.random()
        if chance < 0.4:
            return mutated(rng, self.event(rng, rng.randrange(100)))
        if chance < 0.6:
            return b"40" + self._login(rng).encode("utf-8", "surrogatepass")
        start = rng.choice(_TYPES_OF_PACKETS) + rng.choice(
            (b"", b"/a,", b"5", b"51-", b"1-/x,3", b"999999999999-")
        )
        return start + self._said.junk(rng).encode("utf-8", "surrogatepass")

    def polling_body(self, rng: Random) -> bytes:
        """Packets as a polling body."""
        size = rng.randrange(1, 5) if rng.random() < 0.95 else rng.choice((50, 300, 3000))
        if size > 5:
            return b"\x1e".join([self.packet(rng)] * size)
        body = b"\x1e".join([self.packet(rng) for _ in range(size)])
        return mutated(rng, body) if rng.random() < 0.3 else body

    def frames(self, rng: Random) -> bytes:
        """A WebSocket frame or several, whole, in pieces, or wrong."""
        data = self.packet(rng)
        chance = rng.random()
        if chance < 0.3:
            return frame(data, rng.choice((TEXT, BINARY, PING, 8, 10, 3, 15)))
        if chance < 0.5:
            half = rng.randrange(len(data) + 1)
            return frame(data[:half], TEXT, final=False) + frame(
                data[half:], CONTINUATION, final=rng.random() < 0.8
            )
        if chance < 0.7:
            return mutated(rng, frame(data))
        if chance < 0.8:
            return b"".join(_binary_event(rng))
        return rng.randbytes(rng.randrange(1, 300))

    def raw(self, rng: Random) -> bytes:
        """Bytes that were a request once, or never."""
        if rng.random() < 0.1:
            return rng.randbytes(rng.randrange(1, 2000))
        data = self.request(rng)[1]
        if rng.random() < 0.1:
            data = data.replace(b"\r\n", b"\n")
        return mutated(rng, data)


def _binary_event(rng: Random) -> Iterator[bytes]:
    count = rng.randrange(4)
    places = [b'{"_placeholder":true,"num":%d}' % rng.randrange(-1, 5) for _ in range(rng.randrange(5))]
    yield frame(b'45%d-["ping",%s]' % (count, b",".join(places)))
    for _ in range(rng.randrange(4)):
        yield frame(rng.randbytes(rng.randrange(20)), BINARY)


def _sendable(asyncapi: Mapping[str, Any]) -> list[str]:
    sent = [one for one in asyncapi["operations"].values() if one["action"] == "receive"]
    return sorted({ref["$ref"].rpartition("/")[2] for one in sent for ref in one["messages"]})
