"""Requests, events and bytes in which every value is one that nobody may find again in a log or a metric."""

from __future__ import annotations

import base64
import itertools
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from msgspec import UNSET, UnsetType
from msgspec import inspect as shapes

from happy.api.declare import Event, Route

MARK = "z4Qm0rVt7xJp"
"""Part of every text that a client sends here."""

ADDRESS = "203.0.113.77"
"""Where a proxy says that the client is."""

HEADERS = {
    "user-agent": f"Mozilla {MARK}",
    "x-forwarded-for": ADDRESS,
    "x-forwarded-host": f"{MARK}.example.org",
    "x-more": MARK,
}

_numbers = itertools.count()


def text() -> str:
    """A text that was not there before. It has a space, and so is no label of a metric."""
    return f"{MARK} {next(_numbers)}"


def sample(shape: Any) -> Any:
    """A plain value of the declared shape, of canaries wherever it is of texts."""
    return _sample(shapes.type_info(shape))


def _sample(info: shapes.Type) -> Any:
    make = _MAKERS.get(type(info))
    return text() if make is None else make(info)


def _annotated(info: shapes.Metadata) -> Any:
    if (info.extra_json_schema or {}).get("contentEncoding") == "base64":
        return base64.b64encode(text().encode()).decode()
    meant = (info.extra or {}).get("shape")
    return _sample(info.type) if meant is None else sample(meant)


def _union(info: shapes.UnionType) -> Any:
    return _sample(next(one for one in info.types if not _is_nothing(one)))


def _is_nothing(info: shapes.Type) -> bool:
    return isinstance(info, shapes.NoneType) or (
        isinstance(info, shapes.CustomType) and info.cls in (UnsetType, type(UNSET))
    )


_MAKERS: Mapping[type, Callable[[Any], Any]] = {
    shapes.Metadata: _annotated,
    shapes.UnionType: _union,
    shapes.StructType: lambda info: {field.encode_name: _sample(field.type) for field in info.fields},
    shapes.IntType: lambda info: 0,
    shapes.FloatType: lambda info: 0.5,
    shapes.BoolType: lambda info: True,
    shapes.NoneType: lambda info: None,
    shapes.ListType: lambda info: [_sample(info.item_type), _sample(info.item_type)],
    shapes.DictType: lambda info: {text(): _sample(info.value_type)},
    shapes.LiteralType: lambda info: info.values[0],
}


def variants(shape: Any) -> Iterator[Any]:
    """A value that fits, and such that do not: each member is missing, unstorable, and otherwise wrong."""
    value = text() if shape is None else sample(shape)
    yield value
    if not isinstance(value, dict):
        yield from (wrong() for wrong in _WRONG)
        return
    for name in value:
        yield {key: item for key, item in value.items() if key != name}
        yield value | {name: f"{text()}\0"}
        yield value | {name: next(_wrongs)()}


_WRONG: tuple[Callable[[], Any], ...] = (
    lambda: f"{text()}\ud800",
    lambda: text() * 700,
    lambda: [text()],
    lambda: {text(): {text(): text()}},
    lambda: json.loads("[" * 50 + json.dumps(text()) + "]" * 50),
)
_wrongs = itertools.cycle(_WRONG)


def bodies(route: Route) -> Iterator[bytes]:
    """Bodies of a request to the route: JSON, and what is none."""
    if route.method == "GET":
        yield b""
        return
    if "content" in route.parameters:
        yield text().encode()
    for value in variants(route.parameters.get("body")):
        yield json.dumps(value).encode()
    marked = json.dumps(text()).encode()
    yield from (b'{"a": ' + marked, b"\xff" + marked, marked + marked, b"[" * 600 + marked + b"]" * 600)


def targets(route: Route, names: Mapping[str, str]) -> Iterator[str]:
    """Paths that lead to the route, with the ids that ``names`` has for its variables, and with others."""
    query = f"?{quote(text())}={quote(text())}&" + "&".join(
        f"{name}={quote(text())}" for name in _query_names(route)
    )
    for wrong in (False, True):
        parts = [_segment(part, names, wrong) for part in route.path.split("/")]
        yield "/".join(parts) + (query if wrong else "")


def _segment(part: str, names: Mapping[str, str], wrong: bool) -> str:
    if part != "*" and not part.startswith(":"):
        return part
    return quote(text() if wrong else names.get(part[1:], text()), safe="")


def _query_names(route: Route) -> list[str]:
    shape = route.parameters.get("query")
    info = None if shape is None else shapes.type_info(shape)
    return [field.encode_name for field in info.fields] if isinstance(info, shapes.StructType) else []


def arguments(event: Event) -> Iterator[list[Any]]:
    """Lists of arguments of an event."""
    yield []
    for value in variants(event.parameters.get("body")):
        yield [value, text()]


def noise() -> Iterator[bytes]:
    """What a connection may begin with that is neither a right request nor a right upgrade."""
    said = text().encode()
    opening = (
        b"GET /socket?EIO=4&transport=websocket&sid=%(one)s HTTP/1.1\r\nHost: %(one)s\r\nOrigin: %(one)s\r\n"
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    ) % {b"one": said.replace(b" ", b"")}
    path = b"/v1/updates/?EIO=4&transport="
    yield said + b"\r\n\r\n"
    yield b"\x16\x03\x01\x02\x00" + said
    yield b"GET /%b HTTP/1.1\r\n%b\r\n\r\n" % (said, said)
    yield b"BREW /%b HTTP/9.9\r\nHost: %b\r\n\r\n" % (said.replace(b" ", b""), said)
    yield b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\n\r\n" % said
    yield b"POST /v1/kv HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n" % said
    yield b"POST /v1/kv HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n" + said
    for line in (b"Sec-WebSocket-Key: %b\r\n\r\n" % said, b"Sec-WebSocket-Protocol: %b\r\n\r\n" % said):
        yield opening.replace(b"/socket?EIO=4&transport=", path) + line
        yield opening + line
    yield b"GET %bpolling&%b HTTP/1.1\r\nHost: x\r\n\r\n" % (path, said.replace(b" ", b""))
    yield b"GET %bpolling&sid=%b HTTP/1.1\r\nHost: x\r\n\r\n" % (path, said.replace(b" ", b""))


KEY = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"


def frames() -> Iterator[bytes]:
    """What a WebSocket may say that it should not."""
    said = text()
    deep = "[" * 600 + json.dumps(said) + "]" * 600
    for packet in (
        said,
        f"4{said}",
        f"40{said}",
        f'40{{"token": "{said}"}}',
        f"42{said}",
        f'42["{said}"]',
        f"451-{said}",
        f'42["x",{deep}]',
        f"44{said}",
        f"6{said}",
    ):
        yield frame(packet.encode())
    nested = f'451-["x",{{"_placeholder":true,"num":0}},{deep}]'
    yield frame(nested.encode()) + frame(said.encode(), 2)
    yield frame(b"\xff" + said.encode())
    yield frame(said.encode(), 2)
    yield frame(said.encode(), 3)
    yield frame(b"\x03\xe8" + said.encode(), 8)
    yield frame(said.encode() * 9, 9)


def frame(data: bytes, opcode: int = 1) -> bytes:
    """A WebSocket frame under a mask of zeros (RFC 6455 section 5.2)."""
    first = bytes([0x80 | opcode])
    if len(data) < 126:
        return first + bytes([0x80 | len(data)]) + bytes(4) + data
    return first + b"\xfe" + len(data).to_bytes(2, "big") + bytes(4) + data


def shout(port: int) -> int:
    """Say all that on connections of their own, some of which end in the middle; how many there were."""
    upgrade = (
        b"GET /v1/updates/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" + KEY
    )
    said = [*noise(), *(upgrade + words for words in frames())]
    for words in said:
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            plain.sendall(words)
            plain.settimeout(0.05)
            try:
                while plain.recv(65536):
                    """Until it is over, or nothing more comes."""
            except OSError:
                continue
    return len(said)
