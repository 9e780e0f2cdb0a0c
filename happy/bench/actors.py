"""Clients of the ``profile``: they stay connected, as the real ones do (realtime.md C)."""

from __future__ import annotations

import time
from random import random

import msgspec

from happy.bench.accounts import Account, Scope
from happy.bench.bench import Bench
from happy.bench.calls import Answering, Calling
from happy.bench.checks import Ledger, Rising
from happy.bench.http import Disconnected, Malformed
from happy.bench.links import Link, Refused
from happy.bench.loop import now
from happy.bench.streams import Unreachable
from happy.bench.updates import Update, read_update

_FIRST_PAUSE, _PAUSE = 1.0, 3.0
"""Seconds before a lost socket is connected again, and before further attempts."""
_CONNECTING = 20.0
_STAMP = 13
"""Digits of a time in epoch milliseconds."""


class Actor:
    """A socket that comes back when it is lost."""

    def __init__(self, bench: Bench, account: Account, scope: Scope) -> None:
        self._bench = bench
        self.account = account
        self._scope = scope
        self._rising = Rising()
        self._active = True
        self.link: Link | None = None

    async def join(self) -> None:
        """Connect. Raises Refused, Unreachable or TimeoutError."""
        link = self._bench.link(self.account, self._scope, self.heard, self._lost)
        try:
            await self._bench.loop.within(_CONNECTING, link.joined)
        except TimeoutError:
            link.close()
            raise
        self._rising = Rising()
        self.link = link
        self.joined(link)

    def leave(self) -> None:
        """Stay away if the socket is lost from now on."""
        self._active = False

    def _lost(self, reason: str) -> None:
        self.link = None
        self.cut_off()
        if self._active:
            self._bench.recorder.error(f"socket lost: {reason}")
            self._bench.loop.spawn(self._return())

    async def _return(self) -> None:
        pause = _FIRST_PAUSE
        while self._active:
            await self._bench.loop.sleep(pause * (0.5 + random()))
            begun = now()
            try:
                await self.join()
            except (Refused, Unreachable, TimeoutError) as error:
                self._bench.recorder.error(f"cannot connect again: {error}")
                pause = _PAUSE
            else:
                self._bench.recorder.note("reconnections", now() - begun)
                return

    def joined(self, link: Link) -> None:
        """The socket is there."""

    def cut_off(self) -> None:
        """The socket is gone."""

    def heard(self, packet: bytes) -> None:
        """A packet came."""
        update = read_update(packet)
        if update is not None:
            self._rising.see(update.seq)
            self.updated(update)
            self._bench.verdict.reordered += self._rising.take()

    def updated(self, update: Update) -> None:
        """An update came."""


class Conversation:
    """The messages of one session, all of one sender; ``prefix`` begins their local ids."""

    def __init__(self, bench: Bench, session: str, text: bytes) -> None:
        self._bench = bench
        self.session = session
        self.prefix = f"{bench.job.run}-"
        self._text = text
        self._due: dict[int, float] = {}
        self.ledger = Ledger()
        self.confirmed: set[int] = set()
        self._seqs = Rising()
        self.busy = False

    def heard(self, update: Update) -> None:
        """Check and time an update that is about the session."""
        message = update.body.message
        if message is None or not message.local_id or not message.local_id.startswith(self.prefix):
            return
        number = int(message.local_id[len(self.prefix) :])
        self._seqs.see(message.seq)
        self._bench.verdict.reordered += self._seqs.take()
        self.ledger.heard(number)
        self.confirmed.add(number)
        due = self._due.pop(number, None)
        if due is not None:
            self._bench.recorder.note("messages", now() - due)

    def next(self, due: float) -> int:
        """Number the next message."""
        self.ledger.sent += 1
        self._due[self.ledger.sent] = due
        return self.ledger.sent

    def interrupted(self) -> None:
        """A connection was lost, or made again: what is on its way may be unheard."""
        self.ledger.excuse()

    def send(self, link: Link, due: float) -> None:
        """Send the next message through a socket."""
        id_, local = msgspec.json.encode(self.session), self.prefix.encode()
        body = b'{"sid":%s,"localId":"%s%d","message":"%s"}' % (id_, local, self.next(due), self._text)
        link.send_text(b'42["message",%s]' % body)

    async def post(self, account: Account, due: float) -> None:
        """Post the next message, again and again until it is stored, as the real clients do."""
        self.busy = True
        number = self.next(due)
        item = b'{"content":"%s","localId":"%s%d"}' % (self._text, self.prefix.encode(), number)
        path = f"/v3/sessions/{self.session}/messages"
        http = self._bench.http
        request = http.compose("POST", path, account.token, b'{"messages":[%s]}' % item)
        while not await self._posted(request):
            await self._bench.loop.sleep(_FIRST_PAUSE)
        self._bench.recorder.note("posts", now() - due)
        self.confirmed.add(number)
        self.busy = False

    async def _posted(self, request: bytes) -> bool:
        try:
            answer = await self._bench.http.send(request)
        except (Disconnected, Malformed, Unreachable, TimeoutError) as error:
            self._bench.recorder.error(f"request failed: {error}")
            return False
        if answer.status != 200:
            self._bench.recorder.error(f"request answered {answer.status}")
        return answer.status == 200


class Heart:
    """The heartbeats of a socket: ``name`` events about ``id_``."""

    __slots__ = ("_frame", "_link")

    def __init__(self, link: Link, name: str, key: str, id_: str, more: bytes = b"") -> None:
        before = b'42["%s",{"%s":%s,"time":' % (name.encode(), key.encode(), msgspec.json.encode(id_))
        self._link = link
        self._frame = link.template(before, _STAMP, more + b"}]")

    def beat(self) -> bool:
        """Send one, unless the server is slow to read; whether it was sent."""
        if self._link.busy:
            return False
        self._link.write(self._frame.fill(b"%d" % int(time.time() * 1000)))
        return True


class Terminal(Actor):
    """A session's terminal. ``app`` is set if an app listens to what it sends through its socket."""

    def __init__(self, bench: Bench, account: Account, session: str, text: bytes) -> None:
        super().__init__(bench, account, Scope.session(session))
        self.talk = Conversation(bench, session, text)
        self.heart: Heart | None = None
        self.app: App | None = None

    def joined(self, link: Link) -> None:
        """Compose the heartbeat."""
        self.talk.interrupted()
        more = b',"thinking":false,"mode":"remote"'
        self.heart = Heart(link, "session-alive", "sid", self.talk.session, more)

    def cut_off(self) -> None:
        """What is on its way may be lost."""
        self.heart = None
        self.talk.interrupted()

    def updated(self, update: Update) -> None:
        """Hear what it posted itself; what it sends through its socket, its app hears."""
        if self.app is None:
            self.talk.heard(update)


class Daemon(Actor):
    """A machine's daemon, which answers calls."""

    def __init__(self, bench: Bench, account: Account, machine: str) -> None:
        super().__init__(bench, account, Scope.machine(machine))
        self._machine = machine
        self.method = f"{machine}:bench"
        self.heart: Heart | None = None
        self._answering: Answering | None = None

    def joined(self, link: Link) -> None:
        """Register, and compose the heartbeat."""
        self._answering = Answering(link, self._bench.text(self._bench.load.size))
        self._answering.register(self.method)
        self.heart = Heart(link, "machine-alive", "machineId", self._machine)

    def cut_off(self) -> None:
        """No heartbeats without a socket."""
        self.heart = None

    def heard(self, packet: bytes) -> None:
        """Answer calls."""
        if self._answering is None or not self._answering.heard(packet):
            super().heard(packet)


class App(Actor):
    """An app: it hears all of its account, and calls its machine."""

    def __init__(self, bench: Bench, account: Account, method: str) -> None:
        super().__init__(bench, account, Scope.app())
        self._method = method
        self._calling: Calling | None = None
        self.talks: dict[str, Conversation] = {}

    def joined(self, link: Link) -> None:
        """Compose the call."""
        self._interrupt()
        self._calling = Calling(self._bench, link, self._method)

    def cut_off(self) -> None:
        """What is on its way may be lost."""
        for _ in range(self.waiting):
            self._bench.recorder.error("call cut off")
        self._calling = None
        self._interrupt()

    def _interrupt(self) -> None:
        for talk in self.talks.values():
            talk.interrupted()

    def call(self, due: float) -> None:
        """Call the machine."""
        if self._calling is not None:
            self._calling.call(due)

    @property
    def waiting(self) -> int:
        """Calls without an answer."""
        return self._calling.waiting if self._calling is not None else 0

    def heard(self, packet: bytes) -> None:
        """Tell answers from updates from the rest."""
        if self._calling is None or not self._calling.heard(packet):
            super().heard(packet)

    def updated(self, update: Update) -> None:
        """Hear what terminals send."""
        talk = self.talks.get(update.body.sid or "")
        if talk is not None:
            talk.heard(update)
