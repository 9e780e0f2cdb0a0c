"""An innocent client: uses the server as another account all the while, and measures how it is treated.

``python -m tests.hostile.innocent URL`` says ``{"account": ...}`` once it is there. Each line of its input
asks for what happened since the last one; it answers when everything it had begun by then is over. It does
side by side what patient clients do: open requests on connections of their own, requests with a token, a
small file, a socket that stays, with events and the updates it is owed, and sockets that come and go, by
polling too.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from happy.bench.accounts import Accounts, Scope, Unusable
from happy.bench.http import Connection, Disconnected, Http, Malformed
from happy.bench.links import Link, Refused
from happy.bench.loop import Loop, Promise, now
from happy.bench.streams import Sources, Unreachable, find

PATIENCE = 45.0
TROUBLES = (Disconnected, Malformed, Refused, TimeoutError, Unreachable, Unusable, OSError)
_TICK = 0.01
_POLLING = "/v1/updates/?EIO=4&transport=polling"
_FILE = os.urandom(3000)


class Diary:
    """What was done, by kinds: seconds and outcomes. ``lag`` is how late this process itself was at most."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.count = 0
        self.lag = 0.0
        self.slowest: dict[str, float] = {}
        self.harm: Counter[str] = Counter()

    def note(self, kind: str, seconds: float, trouble: str | None = None) -> None:
        """One thing took so long and went well, or not."""
        self.count += 1
        self.slowest[kind] = max(self.slowest.get(kind, 0.0), seconds)
        if trouble is not None:
            self.harm[f"{kind}: {trouble}"] += 1

    def dump(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {"count": self.count, "lag": self.lag, "slowest": self.slowest, "harm": self.harm}


class Innocent:
    """One account and its clients."""

    def __init__(self, loop: Loop, url: str) -> None:
        self._loop = loop
        self._target = find(url)
        self._sources = Sources(self._target, 1)
        self._http = Http(loop, self._target, self._sources, PATIENCE)
        self._accounts = Accounts(self._http, secrets.token_hex(4))
        self.diary = Diary()
        self._begun: dict[int, float] = {}
        self._numbers = 0
        self._turns: Counter[str] = Counter()
        self._owed: dict[str, tuple[int, float]] = {}
        self._pending: dict[int, tuple[int, float]] = {}
        self._staying: Link | None = None

    async def settle(self) -> str:
        """Make what it uses; its account's id."""
        self._account = await self._accounts.log_in(0)
        self._session = await self._accounts.session(self._account, "innocent")
        profile = await self._http.ask("GET", "/v1/account/profile", self._account.token)
        await self._upload()
        self._stay()
        return str(profile.json()["id"])

    async def _upload(self) -> None:
        path = f"/v1/sessions/{self._session}/attachments"
        wish = {"filename": "a.bin", "size": len(_FILE)}
        answer = await self._http.ask("POST", f"{path}/request-upload", self._account.token, wish)
        self._file = "/" + answer.json()["uploadUrl"].partition("//")[2].partition("/")[2]
        request = self._http.compose("PUT", self._file, self._account.token, _FILE)
        await self._http.send(request.replace(b"application/json", b"application/octet-stream", 1))
        self._file = self._file.partition("?")[0]

    def begin(self) -> None:
        """Do everything from now on."""
        for act, pause in (
            (self._open_request, 0.02),
            (self._own_request, 0.03),
            (self._passing_socket, 0.08),
            (self._event, 0.03),
        ):
            self._loop.spawn(self._again(act, pause))
        begun = now()
        self._loop.later(_TICK, lambda: self._tick(begun))

    def _tick(self, last: float) -> None:
        time = now()
        self.diary.lag = max(self.diary.lag, time - last - _TICK)
        self._loop.later(_TICK, lambda: self._tick(time))

    async def _again(self, act: Callable[[], Coroutine[Any, Any, None]], pause: float) -> None:
        while True:
            await act()
            await self._loop.sleep(pause)

    def _start(self) -> tuple[int, float]:
        self._numbers += 1
        self._begun[self._numbers] = now()
        return self._numbers, now()

    def _end(self, kind: str, token: tuple[int, float], trouble: str | None = None) -> None:
        if self._begun.pop(token[0], None) is not None:
            self.diary.note(kind, now() - token[1], trouble)

    async def over(self) -> None:
        """Everything begun by now has come to its end."""
        last, end = self._numbers, now() + PATIENCE + 5
        while any(number <= last for number in self._begun) and now() < end:
            await self._loop.sleep(0.01)

    async def _timed(self, kind: str, work: Coroutine[Any, Any, str | None]) -> None:
        token = self._start()
        try:
            trouble = await work
        except TROUBLES as error:
            trouble = str(error)
        self._end(kind, token, trouble)

    def _turn(self, kind: str, of: int) -> int:
        self._turns[kind] += 1
        return self._turns[kind] % of

    async def _open_request(self) -> None:
        turn = self._turn("open", 10)
        if turn == 0:
            await self._timed("login", self._log_in())
        else:
            await self._timed("open request", self._fresh(("/", "/health")[turn % 2]))

    async def _log_in(self) -> None:
        await self._accounts.log_in(self._turns["open"])

    async def _fresh(self, path: str) -> str | None:
        """A request on a new connection, as a browser or a health check makes it."""
        connection = Connection(self._loop, self._target, self._sources)
        try:
            answer = await self._loop.within(PATIENCE, connection.ask(self._http.compose("GET", path)))
        finally:
            connection.close()
        return None if answer.status == 200 else str(answer.status)

    async def _own_request(self) -> None:
        turn = self._turn("own", 6)
        if turn == 5:
            await self._timed("file", self._asked("GET", self._file))
        elif turn % 2:
            await self._timed("post", self._posted())
        else:
            await self._timed("list", self._asked("GET", "/v1/sessions"))

    async def _asked(self, method: str, path: str, value: object = msgspec.UNSET) -> str | None:
        answer = await self._http.ask(method, path, self._account.token, value)
        return None if answer.status == 200 else str(answer.status)

    async def _posted(self) -> str | None:
        local = secrets.token_hex(8)
        if self._staying is not None:
            self._owed[local] = self._start()
        item = {"content": "c" * 300, "localId": local}
        trouble = await self._asked("POST", f"/v3/sessions/{self._session}/messages", {"messages": [item]})
        if trouble is not None and local in self._owed:
            self._begun.pop(self._owed.pop(local)[0], None)
        return trouble

    async def _passing_socket(self) -> None:
        if self._turn("passing", 4):
            await self._timed("new socket", self._came_by())
        else:
            await self._timed("new poll", self._polled())

    async def _came_by(self) -> None:
        heard: Promise[None] = Promise()
        link = self._link(lambda packet: heard.keep(None) if packet.startswith(b"431[") else None, heard.fail)
        try:
            await self._loop.within(PATIENCE, link.joined)
            link.emit("ping", {"x": "y" * 300}, 1)
            await self._loop.within(PATIENCE, heard)
        finally:
            link.close()

    def _link(self, heard: Callable[[bytes], None], lost: Callable[[Exception], None]) -> Link:
        login = self._account.login(Scope.app())
        told = lambda reason: lost(Refused(reason))  # noqa: E731
        return Link(self._loop, self._target, self._sources, login, heard, told)

    async def _polled(self) -> str | None:
        answer = await self._http.ask("GET", _POLLING)
        if answer.status != 200:
            return str(answer.status)
        sid = msgspec.json.decode(answer.body[1:])["sid"]
        answer = await self._http.send(self._http.compose("POST", f"{_POLLING}&sid={sid}", body=b"1"))
        return None if answer.status == 200 else str(answer.status)

    async def _event(self) -> None:
        """One more event on the staying socket; its answer is awaited on the side."""
        if self._staying is not None:
            token = self._start()
            self._pending[token[0]] = token
            self._staying.emit("ping", {}, token[0])

    def _stay(self) -> None:
        link = self._link(self._heard, self._cut)

        def joined() -> None:
            try:
                link.joined.result()
            except Exception as error:
                self._cut(error)
            else:
                self._staying = link

        link.joined.when_done(joined)

    def _heard(self, packet: bytes) -> None:
        if packet.startswith(b"43"):
            token = self._pending.pop(int(packet[2 : packet.index(b"[")]), None)
            if token is not None:
                self._end("event", token)
        elif packet.startswith(b'42["update"'):
            message = msgspec.json.decode(packet[2:])[1]["body"].get("message") or {}
            token = self._owed.pop(message.get("localId"), None)
            if token is not None:
                self._end("update", token)

    def _cut(self, error: Exception) -> None:
        """The socket that was to stay is gone: that is harm, and so is all it was owed."""
        self._staying = None
        self.diary.note("staying socket", 0.0, str(error))
        for token in [*self._pending.values(), *self._owed.values()]:
            self._begun.pop(token[0], None)
        self._pending, self._owed = {}, {}
        self._loop.later(0.5, self._stay)


class _Questions:
    """Lines on the standard input; each is answered with the diary so far."""

    def __init__(self, loop: Loop, innocent: Innocent) -> None:
        self._loop = loop
        self._innocent = innocent
        self.ended: Promise[None] = Promise()

    def readable(self) -> None:
        """Answer, or end with the input."""
        data = os.read(0, 4096)
        if not data:
            self.ended.keep(None)
        for _ in range(data.count(b"\n")):
            self._loop.spawn(self._answer())

    def writable(self) -> None:
        """Never asked for."""

    async def _answer(self) -> None:
        await self._innocent.over()
        say(self._innocent.diary.dump())
        self._innocent.diary.clear()


def say(fact: dict[str, Any]) -> None:
    """Write a line."""
    os.write(1, msgspec.json.encode(fact) + b"\n")


async def _live(loop: Loop, url: str) -> None:
    innocent = Innocent(loop, url)
    say({"account": await innocent.settle()})
    innocent.begin()
    questions = _Questions(loop, innocent)
    loop.watch(0, questions)
    await questions.ended


if __name__ == "__main__":
    everything = Loop()
    everything.run(_live(everything, sys.argv[1]))
