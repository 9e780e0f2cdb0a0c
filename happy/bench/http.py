"""HTTP/1.1 requests of the load tool on kept-alive connections, one at a time each."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from happy.bench.loop import Loop, Promise, now
from happy.bench.streams import Sources, Stream, Target

_END_OF_HEADERS = b"\r\n\r\n"


class Answer(NamedTuple):
    """A response."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body as a JSON value."""
        return msgspec.json.decode(self.body)


class Disconnected(Exception):
    """The connection went away before the answer; the text says why."""


class Malformed(Exception):
    """Not an HTTP/1.1 answer."""


def parse_answer(data: bytes) -> tuple[Answer, bool] | None:
    """The answer that ``data`` is, and whether the connection stays; None while it is incomplete.

    Understands bodies with a length and chunked ones. Raises Malformed.
    """
    end = data.find(_END_OF_HEADERS)
    if end < 0:
        return None
    lines = data[:end].split(b"\r\n")
    status = _status(lines[0])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
    rest = data[end + len(_END_OF_HEADERS) :]
    body = _body(headers, rest, status)
    stays = headers.get(b"connection", b"").lower() != b"close"
    return None if body is None else (Answer(status, body), stays)


def _status(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
        raise Malformed("not an HTTP answer")
    return int(rest[:3])


def _body(headers: dict[bytes, bytes], rest: bytes, status: int) -> bytes | None:
    if b"content-length" in headers:
        size = int(headers[b"content-length"])
        return rest[:size] if len(rest) >= size else None
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return _chunks(rest)
    if status in {101, 204, 304}:
        return b""
    raise Malformed("an answer without a length")


def _chunks(rest: bytes) -> bytes | None:
    parts: list[bytes] = []
    while True:
        head, separator, rest = rest.partition(b"\r\n")
        if not separator:
            return None
        size = int(head.split(b";")[0], 16)
        if not size:
            return b"".join(parts)
        if len(rest) < size + 2:
            return None
        parts.append(rest[:size])
        rest = rest[size + 2 :]


class Connection(Stream):
    """One connection; ask again only after the answer."""

    def __init__(self, loop: Loop, target: Target, sources: Sources) -> None:
        self._asked = b""
        self._parts: list[bytes] = []
        self._answer: Promise[Answer] | None = None
        self.asked_at = 0.0
        super().__init__(loop, target, sources)

    @property
    def usable(self) -> bool:
        """Whether another request can be made."""
        return not self._gone and self._answer is None

    def ask(self, request: bytes) -> Promise[Answer]:
        """Send a whole request. The promise fails with Disconnected or Malformed."""
        promise: Promise[Answer] = Promise()
        self._answer = promise
        self.asked_at = now()
        if self._gone:
            self.closed("connection closed by the server")
        elif self._open:
            self.write(request)
        else:
            self._asked = request
        return promise

    def opened(self) -> None:
        """Send what was asked meanwhile."""
        if self._asked:
            self.write(self._asked)

    def received(self, data: bytes) -> None:
        """Answer whoever asked once the answer is whole."""
        self._parts.append(data)
        whole = b"".join(self._parts)
        self._parts = [whole]
        try:
            parsed = parse_answer(whole)
        except (Malformed, ValueError) as error:
            self.close()
            self._settle(Malformed(str(error)))
            return
        if parsed is not None:
            answer, stays = parsed
            self._parts = []
            if not stays:
                self.close()
            self._settle(answer)

    def abandon(self, seconds: float) -> None:
        """Wait no longer for the answer."""
        self.close()
        self._settle(TimeoutError(f"no answer within {seconds:g} s"))

    def closed(self, reason: str) -> None:
        """Fail whoever asked."""
        self._settle(Disconnected(reason))

    def _settle(self, outcome: Answer | Exception) -> None:
        waiting, self._answer = self._answer, None
        if waiting is None:
            return
        if isinstance(outcome, Answer):
            waiting.keep(outcome)
        else:
            waiting.fail(outcome)


class Http:
    """Requests to one server over a pool of connections."""

    def __init__(self, loop: Loop, target: Target, sources: Sources, patience: float = 60.0) -> None:
        self._loop = loop
        self._target = target
        self._sources = sources
        self._patience = patience
        self._idle: list[Connection] = []
        self._asking: set[Connection] = set()
        loop.later(1.0, self._sweep)

    def compose(self, method: str, path: str, token: str | None = None, body: bytes | None = None) -> bytes:
        """A request as bytes."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._target.authority}", "X-Happy-Client: bench/1"]
        if token is not None:
            lines.append(f"Authorization: Bearer {token}")
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join(lines).encode() + _END_OF_HEADERS + (body or b"")

    async def send(self, request: bytes) -> Answer:
        """Send a composed request. Raises Disconnected, Malformed, TimeoutError and Unreachable."""
        connection, fresh = self._take()
        self._asking.add(connection)
        try:
            answer = await connection.ask(request)
        except Disconnected:
            if fresh:
                raise
            # A server may close an idle connection at any moment.
            return await self.send(request)
        finally:
            self._asking.discard(connection)
        if connection.usable:
            self._idle.append(connection)
        return answer

    async def ask(
        self, method: str, path: str, token: str | None = None, value: object = msgspec.UNSET
    ) -> Answer:
        """Make a request with a JSON body, if ``value`` is given."""
        body = None if value is msgspec.UNSET else msgspec.json.encode(value)
        return await self.send(self.compose(method, path, token, body))

    def _take(self) -> tuple[Connection, bool]:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection, False
        return Connection(self._loop, self._target, self._sources), True

    def _sweep(self) -> None:
        """Give up on answers that take too long: one timer for all, since most come soon."""
        limit = now() - self._patience
        for connection in [one for one in self._asking if one.asked_at < limit]:
            connection.abandon(self._patience)
        self._loop.later(1.0, self._sweep)

    def close(self) -> None:
        """Drop the idle connections."""
        for connection in self._idle:
            connection.close()
        self._idle = []
