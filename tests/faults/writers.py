"""Several accounts that write as much as they can, by sockets and HTTP, and listen to what they are told."""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from happy.bench.accounts import Account, Accounts, Scope, Unusable
from happy.bench.http import Answer, Disconnected, Http, Malformed
from happy.bench.links import Link, Refused
from happy.bench.loop import Loop, Promise, gather, now
from happy.bench.streams import Sources, Unreachable, find
from tests.faults.ledgers import Ear, Ledger, Message, Place, Sent, Stored, Update

PATIENCE = 40.0
"""Seconds for a request to be granted, however often it is repeated."""
SESSIONS, LISTENERS = 2, 2
_PAUSE, _RETRY = 0.01, 0.2
_SENDING = 0.03
_JOINING = 10.0
_QUIET = 1.0
_PAGE = 500
_TROUBLES = (Disconnected, Malformed, Refused, TimeoutError, Unreachable, Unusable)
_UPDATE = b'42["update"'


class _Event(msgspec.Struct, gc=False, array_like=True):
    name: str
    update: Update


class _Receipts(msgspec.Struct):
    messages: list[Message]


class _Page(msgspec.Struct, rename="camel"):
    messages: list[Message]
    has_more: bool


_update = msgspec.json.Decoder(_Event).decode
_receipts = msgspec.json.Decoder(_Receipts).decode
_page = msgspec.json.Decoder(_Page).decode


class Household:
    """One account, its sessions, and everybody who writes and listens."""

    def __init__(self, writers: Writers, number: int) -> None:
        self._writers = writers
        self._number = number
        self.ledger = Ledger(f"account {number}")
        self.listening = 0
        self.refused = 0.0

    async def found(self) -> None:
        """Make the account."""
        accounts = self._writers.accounts
        self.account: Account = await accounts.log_in(self._number)
        self.sessions = [await accounts.session(self.account, f"s{number}") for number in range(SESSIONS)]
        profile = await self._writers.http.ask("GET", "/v1/account/profile", self.account.token)
        self.id = str(profile.json()["id"])

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """Everything that goes on at the same time."""
        listeners = [self._listen() for _ in range(LISTENERS)]
        posters = [self._post(session, f"h{number}") for number, session in enumerate(self.sessions)]
        senders = [self._send(session, f"w{number}") for number, session in enumerate(self.sessions)]
        return [*listeners, *posters, *senders]

    async def _post(self, session: str, who: str) -> None:
        """Batches over HTTP, each repeated until it is confirmed."""
        count, order = 0, list[Place]()
        self.ledger.posted.append(order)
        while self._writers.writing:
            size = random.choice((1, 1, 3, 10))
            batch = [f"{who}-{number}" for number in range(count, count + size)]
            count += size
            order += [Place(session, local) for local in batch]
            await self.post(session, batch)
            await self._writers.loop.sleep(_PAUSE)

    async def post(self, session: str, batch: list[str]) -> None:
        """Post messages until they are confirmed, or for as long as anybody would."""
        items = [{"content": "c" * random.randrange(600), "localId": local} for local in batch]
        path, begun = f"/v3/sessions/{session}/messages", now()
        while now() < begun + PATIENCE:
            answer = await self._asked("POST", path, {"messages": items})
            if answer is not None and answer.status == 200:
                for one in _receipts(answer.body).messages:
                    self.ledger.confirmed[Place(session, one.local_id or "")] = Stored(one.seq, one.id)
                self.refused = max(self.refused, now() - begun)
                return
            await self._writers.loop.sleep(_RETRY)
        self.ledger.fault("lost", f"{batch[0]} refused for {PATIENCE:.0f} s")

    async def _granted(self, path: str) -> Answer:
        """The answer to a request that is repeated until it is granted. Raises Unusable."""
        begun = now()
        while now() < begun + PATIENCE:
            answer = await self._asked("GET", path)
            if answer is not None and answer.status == 200:
                return answer
            await self._writers.loop.sleep(_RETRY)
        raise Unusable(f"{path}: refused for {PATIENCE:.0f} s")

    async def _asked(self, method: str, path: str, value: object = msgspec.UNSET) -> Answer | None:
        try:
            return await self._writers.http.ask(method, path, self.account.token, value)
        except _TROUBLES:
            return None

    async def _send(self, session: str, who: str) -> None:
        """Messages over a socket, none of which is acknowledged."""
        count = 0
        while self._writers.writing:
            lost: Promise[str] = Promise()
            link = await self._joined(Scope.session(session), False, lost)
            if link is None:
                continue
            sent = Sent()
            self.ledger.sent.append(sent)
            while self._writers.writing and not lost.done:
                local, count = f"{who}-{count}", count + 1
                link.emit("message", {"sid": session, "message": "m" * 100, "localId": local})
                sent.places.append(Place(session, local))
                await self._writers.loop.sleep(_SENDING)
            await self._writers.loop.sleep(_QUIET)
            sent.lived = not lost.done
            link.close()

    async def _listen(self) -> None:
        """All updates of the account, for as long as anybody writes and a while longer."""
        while not self._writers.over.done:
            lost: Promise[str] = Promise()
            link = await self._joined(Scope.app(), True, lost)
            if link is None:
                continue
            self.listening += 1
            await _first(lost, self._writers.over)
            self.listening -= 1
            link.close()

    async def _joined(self, scope: Scope, whole: bool, lost: Promise[str]) -> Link | None:
        """A socket that has joined, or None after a moment."""
        ear = Ear(self.ledger, whole)

        def heard(packet: bytes) -> None:
            if packet.startswith(_UPDATE):
                ear.hear(_update(packet[2:]).update)

        try:
            link = self._writers.link(self.account, scope, heard, lost.keep)
            await self._writers.loop.within(_JOINING, link.joined)
        except _TROUBLES:
            await self._writers.loop.sleep(_RETRY)
            return None
        return link

    async def finish(self) -> None:
        """One more message, which everybody hears: what was told is then all there is."""
        await self.post(self.sessions[0], ["last"])
        await self._writers.loop.sleep(_QUIET)

    async def read_back(self) -> dict[str, list[Message]]:
        """Every message that is stored. Raises Unusable."""
        return {session: await self._read(session) for session in self.sessions}

    async def _read(self, session: str) -> list[Message]:
        messages: list[Message] = []
        more = True
        while more:
            after = messages[-1].seq if messages else 0
            path = f"/v3/sessions/{session}/messages?after_seq={after}&limit={_PAGE}"
            page = _page((await self._granted(path)).body)
            messages += page.messages
            more = page.has_more
        return messages


async def _first(*promises: Promise[Any]) -> None:
    """Wait until one of them is settled."""
    either: Promise[None] = Promise()
    for promise in promises:
        promise.when_done(lambda: either.keep(None))
    await either


class Writers:
    """All accounts, in a thread of their own."""

    def __init__(self, url: str, accounts: int) -> None:
        self.loop = Loop()
        self._target = find(url)
        self._sources = Sources(self._target, 1)
        self.http = Http(self.loop, self._target, self._sources, PATIENCE)
        self.accounts = Accounts(self.http, secrets.token_hex(4))
        self.homes = [Household(self, number) for number in range(accounts)]
        self.writing = True
        self.over: Promise[None] = Promise()
        self.begun = threading.Event()
        self._look: Callable[[], None] = lambda: None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def link(
        self, account: Account, scope: Scope, heard: Callable[[bytes], None], lost: Callable[[str], None]
    ) -> Link:
        """Begin to connect a socket."""
        return Link(self.loop, self._target, self._sources, account.login(scope), heard, lost)

    def start(self) -> None:
        """Begin; returns when everybody writes. Raises what went wrong."""
        self._thread.start()
        self.begun.wait()
        if self._error is not None:
            raise self._error

    def finish(self, look: Callable[[], None]) -> None:
        """Let everybody come to an end, look once more, and compare what was told with what is stored."""
        self._look = look
        self.writing = False
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self.loop.run(self._work())
        except BaseException as error:
            self._error = error
        finally:
            self.begun.set()
            self.http.close()
            self.loop.close()

    async def _work(self) -> None:
        await gather((home.found() for home in self.homes), len(self.homes))
        works = [work for home in self.homes for work in home.work()]
        self.begun.set()
        await gather([self._end(), *works], len(works) + 1)
        self._look()
        for home in self.homes:
            home.ledger.settle(await home.read_back())

    async def _end(self) -> None:
        """When nobody writes any more, and everybody listens, the last messages are posted."""
        while self.writing:
            await self.loop.sleep(_RETRY)
        end = now() + PATIENCE
        while now() < end and any(home.listening < LISTENERS for home in self.homes):
            await self.loop.sleep(_RETRY)
        await self.loop.sleep(2 * _QUIET)
        await gather((home.finish() for home in self.homes), len(self.homes))
        self.over.keep(None)
