"""Durable messages: each sender waits for what it sent before it sends more.

Through sockets nothing is acknowledged, so a second socket of the session tells when a message is durable:
it hears the update. Through HTTP the answer tells, and the second socket checks the updates.
"""

from __future__ import annotations

import msgspec

from happy.bench.accounts import AT_ONCE, Account, Scope
from happy.bench.bench import Bench
from happy.bench.checks import Ledger, Rising, judge_history
from happy.bench.history import numbers_of, read_session
from happy.bench.http import Disconnected, Malformed
from happy.bench.links import Link
from happy.bench.loop import gather, now
from happy.bench.updates import read_update

SENDERS = 32
WIDTH = 10
"""Digits of a message's number within its local id."""


class Messages:
    """``--senders`` sessions over ``--accounts`` accounts, ``--batch`` messages at a time."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._senders: list[Sender] = []

    async def prepare(self) -> None:
        """Log in, make a session for each sender, and connect."""
        load = self._bench.load
        senders = load.senders or SENDERS
        accounts = min(load.accounts or senders, senders)
        mine = self._bench.job.share(senders)
        numbers = sorted({number % accounts for number in mine})
        found = {one.number: one for one in await self._bench.accounts.several(numbers)}
        kind = HttpSender if load.via == "http" else SocketSender
        self._senders = [kind(self._bench, found[number % accounts], number) for number in mine]
        await gather((sender.prepare() for sender in self._senders), AT_ONCE)

    async def run(self, begin: float) -> None:
        """Send until the time is over."""
        end = begin + self._bench.load.seconds
        for sender in self._senders:
            sender.begin(end)
        await self._bench.loop.sleep(end - now())

    async def verify(self) -> None:
        """Wait for what is on its way, then read every session back."""
        await self._bench.until(lambda: all(sender.idle for sender in self._senders))
        await gather((sender.verify() for sender in self._senders), 4)


class Sender:
    """One session with somebody who listens to it."""

    def __init__(self, bench: Bench, account: Account, number: int) -> None:
        self._bench = bench
        self._account = account
        self._number = number
        self._prefix = f"{bench.job.run}-{number}-"
        self._skip = len(self._prefix)
        self._text = bench.text(bench.load.size)
        self._ledger = Ledger()
        self._rising = Rising()
        self._seqs = Rising()
        self._begun = 0.0
        self._end = 0.0
        self.session = ""

    async def prepare(self) -> None:
        """Make the session and connect to it."""
        self.session = await self._bench.accounts.session(self._account, f"messages {self._number}")
        self._in = self._link()
        await self._in.joined

    def _link(self, apart: Link | None = None) -> Link:
        scope = Scope.session(self.session)
        return self._bench.link(self._account, scope, self._heard, apart=apart)

    def _heard(self, packet: bytes) -> None:
        update = read_update(packet)
        if update is None:
            return
        self._rising.see(update.seq)
        message = update.body.message
        if message is None or not message.local_id or not message.local_id.startswith(self._prefix):
            return
        self._seqs.see(message.seq)
        number = int(message.local_id[self._skip :])
        self._ledger.heard(number)
        self.arrived()

    def begin(self, end: float) -> None:
        """Start to send, until the time ``end``."""
        raise NotImplementedError

    def arrived(self) -> None:
        """An update of a message of ours came."""
        raise NotImplementedError

    @property
    def idle(self) -> bool:
        """Whether everything that was sent came back."""
        return not self._ledger.outstanding

    async def verify(self) -> None:
        """Compare with what the server stored."""
        verdict = self._ledger.verdict()
        verdict.reordered += self._rising.reordered + self._seqs.reordered
        stored = await read_session(self._bench, self._account, self.session)
        confirmed = range(1, self._ledger.sent + 1 - self._ledger.outstanding)
        verdict.add(judge_history(numbers_of(stored, self._prefix), confirmed))
        self._bench.verdict.add(verdict)


class SocketSender(Sender):
    """Sends ``message`` events."""

    async def prepare(self) -> None:
        """Connect twice: the sending socket does not hear its own messages."""
        await super().prepare()
        self._out = self._link(apart=self._in)
        await self._out.joined
        id_ = msgspec.json.encode(self.session)
        before = b'42["message",{"sid":%s,"localId":"%s' % (id_, self._prefix.encode())
        after = b'","message":"%s"}]' % self._text.encode()
        self._frame = self._out.template(before, WIDTH, after)
        self._waiting = 0

    def begin(self, end: float) -> None:
        """Send the first batch."""
        self._end = end
        self._send()

    def _send(self) -> None:
        batch, first = self._bench.load.batch, self._ledger.sent + 1
        self._ledger.sent += batch
        self._waiting = batch
        self._begun = now()
        fill = self._frame.fill
        self._out.write(b"".join([fill(b"%010d" % number) for number in range(first, first + batch)]))

    def arrived(self) -> None:
        """Send the next batch after the last of this one."""
        time = now()
        self._bench.recorder.note("messages", time - self._begun)
        self._waiting -= 1
        if not self._waiting and time < self._end:
            self._send()


class HttpSender(Sender):
    """Posts batches, with the answer as the confirmation."""

    async def prepare(self) -> None:
        """Compose what all requests have in common."""
        await super().prepare()
        text, batch = self._text, self._bench.load.batch
        self._item = f'{{"content":"{text}","localId":"{self._prefix}%010d"}}'.encode()
        size = len(self._item % 0) * batch + len(b'{"messages":[]}') + batch - 1
        path = f"/v3/sessions/{self.session}/messages"
        token = self._account.token
        self._head = self._bench.http.compose("POST", path, token, bytes(size))[:-size]

    def begin(self, end: float) -> None:
        """Post in the background."""
        self._end = end
        self._bench.loop.spawn(self._post())

    async def _post(self) -> None:
        batch = self._bench.load.batch
        while now() < self._end:
            first = self._ledger.sent + 1
            self._ledger.sent += batch
            items = b",".join([self._item % number for number in range(first, first + batch)])
            begun = now()
            try:
                answer = await self._bench.http.send(b'%s{"messages":[%s]}' % (self._head, items))
            except (Disconnected, Malformed, TimeoutError) as error:
                self._bench.recorder.error(f"request failed: {error}")
                return
            if answer.status == 200:
                self._bench.recorder.note("messages", now() - begun, batch)
            else:
                self._bench.recorder.error(f"request answered {answer.status}")
                self._ledger.sent -= batch

    def arrived(self) -> None:
        """The answer counts, not the update."""
