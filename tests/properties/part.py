"""One process of a run: makes inputs, sends them, and looks at what comes back.

``python -m tests.properties.part`` reads its orders as a line of JSON, and says a line for each batch.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec

from tests.hostile.clients import GONE, POLLING, Answer, Lane, Refused, Socket, frame, head
from tests.hostile.doors import DOCUMENTS
from tests.hostile.scene import Scene
from tests.properties.inputs import Endpoint, Inputs, Names
from tests.properties.shapes import unstorable

_NICE = 10
_PATIENCE = 20.0
_ARTIFACT = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
SIZE = 100
"""Inputs of a batch."""
PROPER = frozenset({501, 503, 505})
"""Of 500 and above, what is no failure: not implemented, busy, another version of HTTP."""

_PROPER = frozenset(map(str, PROPER))

NOT_CONFIGURED = b"not configured"
"""In what the contract answers with 500 as long as a third party is not set up."""


class Orders(msgspec.Struct):
    """Batches ``first``, ``first + step``... of a seed, until ``count`` of them are through."""

    port: int
    source: str
    seed: int
    first: int
    step: int
    count: int


class Finding(msgspec.Struct):
    """What should not have happened, in which batch, upon which input."""

    batch: int
    what: str
    input: str


class Report(msgspec.Struct):
    """A batch that is through: how many inputs of what kind, their statuses, seconds."""

    batch: int
    kind: str
    inputs: int
    seconds: float
    outcomes: dict[str, int]
    findings: list[Finding]


class Part:
    """Sends batches to a server as one account, which it knows everything of."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._scene = Scene(orders.port, orders.source, True, "")
        self._openapi, self._asyncapi = (self._scene.ask("GET", path).json() for path in DOCUMENTS)
        self._token = self._scene.login()
        stranger = self._scene.login()
        self._foreign = self._scene.session(stranger)
        self._account = self._scene.account_of(self._token)
        self._lane: Lane | None = None
        self._findings: list[Finding] = []
        self._outcomes: Counter[str] = Counter()
        self._batch = 0
        self._kinds = {
            "requests": (self._requests, 8),
            "events": (self._events, 7),
            "bytes": (self._bytes, 2),
            "frames": (self._frames, 2),
            "polling": (self._polling, 1),
        }
        self._inputs = self._make()

    def _make(self) -> Inputs:
        """Things that ids may name, whatever became of those that there were."""
        scene, token = self._scene, self._token
        session = scene.session(token)
        machine = f"machine-{self._account}"
        scene.ask("POST", "/v1/machines", {"id": machine, "metadata": "m"}, token)
        artifact = dict.fromkeys(("header", "body", "dataEncryptionKey"), "YQ==")
        scene.ask("POST", "/v1/artifacts", {"id": _ARTIFACT, **artifact}, token)
        scene.ask("POST", "/v1/push-tokens", {"token": "ExponentPushToken[known]"}, token)
        ids = (
            self._account,
            session,
            machine,
            _ARTIFACT,
            "nobody",
            self._foreign,
            "ExponentPushToken[known]",
        )
        return Inputs(self._openapi, self._asyncapi, Names(token, ids))

    def work(self) -> Iterator[Report]:
        """Every batch that it was told to send."""
        orders = self._orders
        names = [name for name, (_, weight) in self._kinds.items() for _ in range(weight)]
        for turn in range(orders.count):
            self._batch = orders.first + turn * orders.step
            # A batch depends on its own number and the seed alone, so that it can be sent again.
            rng = random.Random(f"{orders.seed}/{self._batch}")
            kind = names[self._batch % len(names)]
            if turn % 20 == 0:
                self._inputs = self._make()
            self._findings, self._outcomes, begun = [], Counter(), time.monotonic()
            try:
                self._kinds[kind][0](rng)
            except (*GONE, ValueError) as error:
                self._find(f"{kind}: {type(error).__name__} {error}"[:300], b"")
                self._lane = None
            seconds = time.monotonic() - begun
            yield Report(self._batch, kind, SIZE, seconds, dict(self._outcomes), self._findings)

    def _find(self, what: str, data: bytes) -> None:
        shown = data.replace(self._token.encode(), b"TOKEN")
        self._findings.append(Finding(self._batch, what, repr(shown[:600])))

    def _connection(self) -> Lane:
        if self._lane is None:
            self._lane = self._scene.dial(timeout=_PATIENCE)
        return self._lane

    def _drop(self) -> None:
        if self._lane is not None:
            self._lane.close()
            self._lane = None

    def _requests(self, rng: random.Random) -> None:
        """Requests on kept connections: by ones, which has a short way, and several at once."""
        done = 0
        while done < SIZE:
            some = [self._inputs.request(rng) for _ in range(min(rng.choice((1, 1, 8)), SIZE - done))]
            done += len(some)
            while some:
                some = self._ask(some)

    def _ask(self, some: list[tuple[Endpoint, bytes]]) -> list[tuple[Endpoint, bytes]]:
        """Send requests and judge the answers; those that a closed connection left without one."""
        lane = self._connection()
        with suppress(OSError):  # it may close while this is written; the answer says why
            lane.write(b"".join(data for _, data in some))
        for number, (endpoint, data) in enumerate(some):
            try:
                answer = lane.answer()
            except (EOFError, ConnectionError):
                self._drop()
                # Once more on a new connection, unless this one is what made it close.
                return some[number + 1 :] if not number else some[number:]
            self._judge(endpoint, data, answer)
            if b"connection: close" in answer.head:
                self._drop()
                return some[number + 1 :]
        return []

    def _judge(self, endpoint: Endpoint, data: bytes, answer: Answer) -> None:
        status = answer.status
        self._outcomes[str(status)] += 1
        if status < 500:
            return
        meant = status in PROPER or NOT_CONFIGURED in answer.body or unstorable(data)
        if not meant or status not in endpoint.statuses:
            self._find(f"{status} {answer.body[:200]!r}", data)

    def _joined(self) -> Socket:
        return self._scene.socket(self._token, timeout=_PATIENCE)

    def _events(self, rng: random.Random) -> None:
        """Events on one socket, which must live."""
        link = self._joined()
        events = [self._inputs.event(rng, number) for number in range(SIZE)]
        for start in range(0, SIZE, 20):
            some = events[start : start + 20]
            try:
                link.write(b"".join(map(frame, some)) + frame(b'42%d["ping"]' % (1000 + start)))
                link.until(b"43%d[" % (1000 + start))
                self._outcomes["served"] += len(some)
            except GONE as error:
                self._outcomes["closed"] += 1
                if isinstance(error, TimeoutError):
                    self._find("a socket without an answer", some[0])
                link = self._joined()
        link.close()

    def _frames(self, rng: random.Random) -> None:
        """Frames that may be wrong: the socket lives or is closed, and nothing else happens."""
        link: Socket | None = None
        for number in range(SIZE):
            if link is None:
                link = self._scene.socket(self._token if number % 2 else None, timeout=_PATIENCE)
            try:
                link.write(self._inputs.frames(rng))
                link.plain.settimeout(0.0001)
                link.drain()
                raise EOFError
            except TimeoutError:
                link.plain.settimeout(_PATIENCE)
                self._outcomes["taken"] += 1
            except GONE:
                self._outcomes["closed"] += 1
                link.close()
                link = None
        if link is not None:
            link.close()

    def _bytes(self, rng: random.Random) -> None:
        """Bytes that may have been requests: each on a connection of its own, until it is answered or a
        moment.
        """
        for _ in range(SIZE):
            data = self._inputs.raw(rng)
            lane = self._scene.dial(timeout=0.002)
            got = b""
            try:
                lane.write(data)
                got = lane.plain.recv(65536)
            except GONE:
                pass
            lane.reset()
            status = got[9:12].decode("latin-1") if got.startswith(b"HTTP/1.") else "none"
            self._outcomes[status] += 1
            meant = status in _PROPER or NOT_CONFIGURED in got or unstorable(data)
            if status[:1] == "5" and not meant:
                self._find(status, data)

    def _polling(self, rng: random.Random) -> None:
        """Bodies for polling sessions, joined or not, on a kept connection."""
        sid, used = "", 9
        for number in range(SIZE):
            if used > 4:
                sid, used = self._scene.polling(), 0
                if number % 2:
                    self._scene.post(sid, b'40{"token":"%s"}' % self._token.encode())
            used += 1
            body = self._inputs.polling_body(rng)
            lane = self._connection()
            try:
                lane.write(head("POST", f"{POLLING}&sid={sid}", None, len(body)) + body)
                answer = lane.answer()
            except (EOFError, ConnectionError):
                self._drop()
                used = 9
                continue
            self._outcomes[str(answer.status)] += 1
            if answer.status != 200:
                used = 9
            if answer.status >= 500:
                self._find(str(answer.status), body)
            if b"connection: close" in answer.head:
                self._drop()


def main() -> None:
    """Do what the first line of the input says."""
    os.nice(_NICE)
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    try:
        for report in Part(orders).work():
            _say(report)
    except Refused as error:
        _say(Finding(orders.first, f"cannot begin: {error}", ""))


def _say(fact: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(fact) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
