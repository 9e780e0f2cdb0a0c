"""Sockets that do what no client should: they stop reading, or send anything at all."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Callable
from contextlib import suppress

import msgspec

from happy.bench import frames
from happy.bench.accounts import Account, Accounts, Scope
from happy.bench.http import Http
from happy.bench.links import PATH, Link, Refused
from happy.bench.loop import Loop, gather, now
from happy.bench.streams import Sources, Stream, find

_AT_ONCE = 64
_POST_SIZE = 100_000
_NOTHING = 0
"""No events but the end of the connection."""


class Crowd:
    """A loop of its own, connections from addresses of their own, and an account."""

    def __init__(self, url: str) -> None:
        self.loop = Loop()
        self.target = find(url)
        self.sources = Sources(self.target, 1)
        self.http = Http(self.loop, self.target, self.sources)
        self.accounts = Accounts(self.http, secrets.token_hex(4))

    def close(self) -> None:
        """Let go of everything."""
        self.http.close()
        self.loop.close()


class _Deaf(Link):
    """A socket that reads until it has joined, and never again."""

    gone = False

    def stop_reading(self) -> None:
        self._loop.change(self._descriptor, _NOTHING)

    def closed(self, reason: str) -> None:
        self.gone = True
        super().closed(reason)


async def _join(crowd: Crowd, account: Account) -> _Deaf:
    login = account.login(Scope.app())
    link = _Deaf(crowd.loop, crowd.target, crowd.sources, login, lambda _: None, lambda _: None)
    await crowd.loop.within(20, link.joined)
    link.stop_reading()
    return link


def stop_reading(url: str, sockets: int, seconds: float) -> tuple[int, int]:
    """Connect so many apps of one account that hear its messages without reading, and send such messages.

    Ends when the server has dropped them all, or after ``seconds``; how many it dropped, and the bytes
    that were sent to each.
    """
    crowd = Crowd(url)
    try:
        return crowd.loop.run(_stop_reading(crowd, sockets, seconds))
    finally:
        crowd.close()


async def _stop_reading(crowd: Crowd, sockets: int, seconds: float) -> tuple[int, int]:
    account = await crowd.accounts.log_in(0)
    session = await crowd.accounts.session(account, "deaf")
    links = await gather((_join(crowd, account) for _ in range(sockets)), _AT_ONCE)
    end, sent = now() + seconds, 0
    while now() < end and not all(link.gone for link in links):
        item = {"content": os.urandom(_POST_SIZE // 2).hex(), "localId": str(sent)}
        path = f"/v3/sessions/{session}/messages"
        await crowd.http.ask("POST", path, account.token, {"messages": [item]})
        sent += _POST_SIZE
        await crowd.loop.sleep(0.01)
    dropped = sum(link.gone for link in links)
    for link in links:
        link.close()
    return dropped, sent


class _Noise(Stream):
    """A connection that sends bytes once it is there, and notes its end."""

    def __init__(self, crowd: Crowd, data: bytes, over: Callable[[], None]) -> None:
        self._data = data
        self._over = over
        super().__init__(crowd.loop, crowd.target, crowd.sources)

    def opened(self) -> None:
        self.write(self._data)

    def received(self, data: bytes) -> None:
        """Whatever the server makes of it."""

    def closed(self, reason: str) -> None:
        self._over()


class _Babbler:
    """One place in the crowd: garbage of every kind, one connection after the other."""

    def __init__(self, crowd: Crowd, account: Account, number: int, end: float) -> None:
        self._crowd = crowd
        self._account = account
        self._random = random.Random(number)
        self._end = end
        self.sent = 0

    async def babble(self) -> None:
        """Send garbage, about once a second, until it is time to end."""
        while now() < self._end:
            kind = self._random.choice((self._bytes, self._http, self._frames, self._packets, self._events))
            with suppress(Refused, OSError, TimeoutError):
                await kind()
            await self._crowd.loop.sleep(0.5 + self._random.random())

    async def _noise(self, data: bytes) -> None:
        self.sent += 1
        noise = _Noise(self._crowd, data, lambda: None)
        await self._crowd.loop.sleep(0.3)
        noise.close()

    async def _bytes(self) -> None:
        await self._noise(self._random.randbytes(self._random.randrange(1, 4000)))

    async def _http(self) -> None:
        lines = [
            b"GET /v1/sessions HTTP/1.1",
            b"Host: x",
            b"POST / HTTP/9",
            b"Content-Length: -1",
            b"",
            b": ",
        ]
        chosen = self._random.choices(lines, k=self._random.randrange(1, 30))
        await self._noise(b"\r\n".join(chosen))

    async def _frames(self) -> None:
        """A proper opening, and then no frames, or frames that may not be."""
        request = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        await self._noise((request + key).encode() + self._random.randbytes(self._random.randrange(1, 200)))

    async def _link(self) -> Link:
        crowd = self._crowd
        login = self._account.login(Scope.app())
        link = Link(crowd.loop, crowd.target, crowd.sources, login, lambda _: None, lambda _: None)
        await crowd.loop.within(20, link.joined)
        return link

    async def _packets(self) -> None:
        """Packets that are none, from a client that has logged in."""
        link = await self._link()
        for _ in range(3):
            self.sent += 1
            link.write(frames.encode(frames.TEXT, self._random.choice(_PACKETS), link.key))
        await self._crowd.loop.sleep(0.3)
        link.close()

    async def _events(self) -> None:
        """Events with any data, from a client that has logged in."""
        link = await self._link()
        for _ in range(5):
            self.sent += 1
            name, value = self._random.choice(_NAMES), self._random.choice(_VALUES)
            link.emit(name, value, self._random.choice((None, 1)))
        await self._crowd.loop.sleep(0.3)
        link.close()


_PACKETS = (
    b"",
    b"9",
    b"4",
    b"4" * 1000,
    b'42{"no":"array"}',
    b"42[",
    b'42["message"',
    b"451-[",
    b'45999999999-["x"]',
    b"\xff\xfe",
    b'42["message",' + b"[" * 2000,
    b"40/nowhere,{}",
    b'43999["?"]',
    b'42["connect"]',
)
_NAMES = (
    "message",
    "session-alive",
    "session-end",
    "machine-alive",
    "update-metadata",
    "update-state",
    "rpc-call",
    "rpc-register",
    "usage-report",
    "artifact-create",
    "access-key-get",
    "nobody-knows-this",
)
_VALUES: tuple[object, ...] = (
    None,
    5,
    "text",
    [],
    {},
    {"sid": 5},
    {"sid": "unknown", "message": "x", "time": 1e300, "metadata": "m", "expectedVersion": -1},
    {"sid": "unknown", "time": 5, "message": "\0", "localId": "\0"},
    {"sid": "\ud83d".encode("utf-8", "surrogatepass").decode("latin-1"), "machineId": "m" * 5000},
    {"method": "nobody:answers", "params": {"deep": [[[[]]]]}},
    {"key": "k", "tokens": {"total": 1e308}, "cost": {"total": -1}},
    msgspec.Raw(b'{"sid":"\\ud800","time":1,"message":"\\ud800"}'),
)


def send_garbage(url: str, sockets: int, seconds: float) -> int:
    """So many connections at a time send garbage for a while; how much of it was sent."""
    crowd = Crowd(url)
    try:
        return crowd.loop.run(_send_garbage(crowd, sockets, seconds))
    finally:
        crowd.close()


async def _send_garbage(crowd: Crowd, sockets: int, seconds: float) -> int:
    account = await crowd.accounts.log_in(0)
    end = now() + seconds
    babblers = [_Babbler(crowd, account, number, end) for number in range(sockets)]
    await gather((one.babble() for one in babblers), sockets)
    return sum(one.sent for one in babblers)
