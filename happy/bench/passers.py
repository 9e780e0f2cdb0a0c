"""Clients that come by and break off, as phones on trains do: in a list, an upload, a post, a socket."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from itertools import cycle
from random import random
from typing import Any

from happy.bench.accounts import Scope, Unusable
from happy.bench.bench import Bench, nobody
from happy.bench.http import Disconnected, Malformed
from happy.bench.links import Link, Refused
from happy.bench.loop import Promise
from happy.bench.streams import Stream, Unreachable

_METADATA = "m" * 300_000
_MESSAGE = "c" * 20_000
_MESSAGES = 40
_UPLOAD = 400_000
_PATIENCE = 20.0
_POLLING = "/v1/updates/?EIO=4&transport=polling"
_TROUBLES = (Disconnected, Malformed, Refused, TimeoutError, Unreachable, Unusable)


class _Breaking(Stream):
    """A connection that sends something; ``over`` comes true when the answer begins."""

    def __init__(self, bench: Bench, data: bytes) -> None:
        self.over: Promise[None] = Promise()
        self._data = data
        super().__init__(bench.loop, bench.target, bench.sources)

    def opened(self) -> None:
        """Send it."""
        self.write(self._data)

    def received(self, data: bytes) -> None:
        """The first bytes are enough."""
        self.over.keep(None)

    def closed(self, reason: str) -> None:
        """The server ended it first, or was not there."""
        self.over.fail(Disconnected(reason))


class Passers:
    """One account of their own, and all the ways to leave."""

    def __init__(self, bench: Bench, number: int) -> None:
        self._bench = bench
        self._number = number
        ways = (self._list, self._page, self._upload, self._socket, self._polling, self._post)
        self._ways: cycle[Callable[[], Coroutine[Any, Any, None]]] = cycle(ways)

    async def prepare(self) -> None:
        """Make what they begin to download."""
        accounts, http = self._bench.accounts, self._bench.http
        self._account = await accounts.log_in(self._number)
        body = {"tag": "passers", "metadata": _METADATA}
        await http.ask("POST", "/v1/sessions", self._account.token, body)
        self._session = await accounts.session(self._account, "passers")
        items = [{"content": _MESSAGE, "localId": str(number)} for number in range(_MESSAGES)]
        path = f"/v3/sessions/{self._session}/messages"
        await http.ask("POST", path, self._account.token, {"messages": items})

    def come(self, due: float) -> None:
        """One more comes by."""
        self._bench.loop.spawn(self._visit(next(self._ways)))

    async def _visit(self, way: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await way()
        except _TROUBLES as error:
            self._bench.recorder.error(f"passing by: {error}")
        else:
            self._bench.recorder.count("passers")

    async def _break(self, data: bytes) -> None:
        """Send a request, and be gone when the answer begins."""
        stream = _Breaking(self._bench, data)
        try:
            await self._bench.loop.within(_PATIENCE, stream.over)
        finally:
            stream.reset()

    async def _leave(self, data: bytes) -> None:
        """Send what is not all, and be gone within a second."""
        stream = _Breaking(self._bench, data)
        await self._bench.loop.sleep(random())
        stream.reset()

    def _compose(self, method: str, path: str, body: bytes | None = None) -> bytes:
        return self._bench.http.compose(method, path, self._account.token, body)

    async def _list(self) -> None:
        await self._break(self._compose("GET", "/v1/sessions"))

    async def _page(self) -> None:
        await self._break(self._compose("GET", f"/v3/sessions/{self._session}/messages?limit=500"))

    async def _upload(self) -> None:
        path = f"/v1/sessions/{self._session}/attachments/passing.enc"
        await self._leave(self._compose("PUT", path, bytes(_UPLOAD))[:-1000])

    async def _post(self) -> None:
        body = b'{"messages":[{"content":"%s","localId":"x"}]}' % _METADATA.encode()
        await self._leave(self._compose("POST", f"/v3/sessions/{self._session}/messages", body)[:-1000])

    async def _socket(self) -> None:
        link: Link = self._bench.link(self._account, Scope.app(), nobody, lambda reason: None)
        try:
            await self._bench.loop.within(_PATIENCE, link.joined)
            await self._bench.loop.sleep(3 * random())
        finally:
            link.reset()

    async def _polling(self) -> None:
        """A session on polling whose first poll is the last that is heard of it."""
        answer = await self._bench.http.ask("GET", _POLLING)
        sid = answer.body.partition(b'"sid":"')[2].partition(b'"')[0].decode()
        if answer.status != 200 or not sid:
            raise Refused(f"polling answered {answer.status}")
        await self._leave(self._compose("GET", f"{_POLLING}&sid={sid}"))
