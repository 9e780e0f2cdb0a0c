"""Clients that come back (realtime.md A.14, D-9): who they were, and whether they can go on as if never gone.

Each client is told a private id (``pid``) when it connects. One that lost its connection, or whose connection
is dead without our having noticed, presents that id and the offset of the last event that it heard. It is
taken for the same only if everything about it is, and if everything that it missed is still there: a client
that is told it recovered fetches nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from happy.base.bounds import Budget
from happy.base.expiry import Expiry
from happy.realtime.replay import ACCOUNT_BYTES, KEPT_SECONDS, Replay
from happy.socketio.connection import new_id
from happy.wire.engine_events import PING_TIMEOUT, TRANSPORT_CLOSE, TRANSPORT_ERROR
from happy.wire.socketio import FORCED_CLOSE, FORCED_SERVER_CLOSE

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from happy.base.bounds import Holding
    from happy.realtime.client import Client, Identity
    from happy.socketio.socket import EncodedPacket

LOST_BYTES: Final = 32 * 1024 * 1024
"""What is kept of clients that may come back, half of it of one account at most. When it is full, the account
with most of it loses what is the largest of it, and that client begins anew."""

LATELY_SECONDS: Final = 5.0
"""How long what is told here may be on its way to other nodes: a slower way is taken for broken."""

LOST_COST: Final = 1_500
"""What a client costs beside the names of its methods."""

RECOVERABLE: Final = frozenset(
    {TRANSPORT_ERROR, TRANSPORT_CLOSE, PING_TIMEOUT, FORCED_CLOSE, FORCED_SERVER_CLOSE}
)
"""Why clients are lost that may come back. When the server stops, so does what it remembers."""


class Lost(Struct, eq=False):
    """A client that may come back; ``id`` is its socket's, ``since`` the position at which it joined.

    ``came_with`` is an offset of another node's that stands for the latter, ``next_call`` the number of the
    next call to it.
    """

    id: str
    identity: Identity
    since: int
    came_with: str | None
    methods: frozenset[str]
    next_call: int | None
    give_up: Callable[[], None]
    deadline: int = 0
    holding: Holding | None = None


class Recovered(Struct):
    """What a client continues: ``former`` is still connected, or else lost. ``missed`` comes first."""

    former: Client | Lost
    missed: Sequence[EncodedPacket]


class Left(Recovered):
    """The same for another node. ``heard`` is what the client was told last, and may be told there too."""

    heard: Sequence[EncodedPacket]


class Moved(Struct):
    """What a client continues that was connected to another node, by its ``pid`` and the id of its socket.

    ``missed`` comes first; without any, it goes on with the offset that it ``came_with``.
    """

    pid: str
    id: str
    methods: Iterable[str]
    next_call: int | None
    missed: Sequence[EncodedPacket]
    came_with: str


class Recovery:
    """The private ids of connected and of lost clients. ``replay`` has what they missed."""

    def __init__(self, clock: IReactorTime, account_bytes: int = ACCOUNT_BYTES) -> None:
        self.replay = Replay(clock, account_bytes)
        self.connected: Callable[[str], bool] = lambda account: False
        """Whether any client of an account is connected; the hub's to tell."""
        self._live: dict[str, Client] = {}
        self._lost: dict[str, Lost] = {}
        self._room = Budget(LOST_BYTES)
        self._expiry = Expiry(clock, KEPT_SECONDS)

    def enter(self, client: Client) -> None:
        """A client connects that continues nothing: give it an id."""
        self._enter(client, new_id(), self.replay.position(client.account))

    def resume(self, client: Client, pid: object, offset: object) -> Recovered | None:
        """What a client that presents these continues; None if it has to start anew.

        A former client that is lost is forgotten, and its ``pid`` is the new one's. One that is connected
        stays; the caller is to put it in the place of the new one.
        """
        if not isinstance(pid, str):
            return None
        former = self._known(pid, client.identity)
        if former is None:
            return None
        missed = self._missed(former, offset)
        if missed is not None and isinstance(former, Lost):
            self._enter(client, pid, former.since, former.came_with)
        if isinstance(former, Lost):
            # The log must not go before the client is registered with the hub.
            self._forget(pid)
        return None if missed is None else Recovered(former, missed)

    def knows(self, pid: str) -> bool:
        """Whether a client with this id is here, or may come back."""
        return pid in self._live or pid in self._lost

    def let_go(self, identity: Identity, pid: str, offset: str) -> Left | None:
        """What a client continues that has come back at another node; it is known no longer.

        None if it has to start anew. A former client that is connected is the caller's to remove.
        """
        former = self._known(pid, identity)
        if former is None:
            return None
        missed, left = self._missed(former, offset), None
        if missed is not None:
            account, scope, subject, _ = identity
            heard = self._heard(former, offset) or 0
            lately = self.replay.heard_lately(account, heard, scope, subject, LATELY_SECONDS)
            left = Left(former, missed, lately)
            self._live.pop(pid, None)
        if isinstance(former, Lost):
            self._forget(pid)
            self.tidy(former.identity[0])
        return left

    def take_in(self, client: Client, moved: Moved) -> None:
        """A client joins that was connected to another node."""
        came_with = None if moved.missed else moved.came_with
        self._enter(client, moved.pid, self.replay.position(client.account), came_with)

    def _known(self, pid: str, identity: Identity) -> Client | Lost | None:
        former = self._live.get(pid) or self._lost.get(pid)
        return former if former is not None and former.identity == identity else None

    def _missed(self, former: Client | Lost, offset: object) -> list[EncodedPacket] | None:
        if not isinstance(offset, str):
            return None
        account, scope, subject, _ = former.identity
        heard = self._heard(former, offset)
        if heard is None:
            return None
        socket = former.id if isinstance(former, Lost) else former.socket.id
        return self.replay.missed(account, heard, scope, subject, socket)

    def _heard(self, former: Client | Lost, offset: str) -> int | None:
        """The number of the last event that a client has heard, or had no need of."""
        if offset == former.came_with:
            return former.since
        heard = self.replay.heard(former.identity[0], offset)
        return None if heard is None else max(heard, former.since)

    def leave(self, client: Client, reason: str) -> None:
        """A client is gone, and no longer registered with the hub."""
        pid = client.pid
        if pid is None or self._live.pop(pid, None) is None:
            return
        if reason not in RECOVERABLE or not self._remember(pid, client):
            self.tidy(client.account)

    def _remember(self, pid: str, client: Client) -> bool:
        """Whether a client may come back."""
        if not self._expect(client.identity):
            return False
        socket, methods = client.socket, frozenset(client.methods or ())
        expire = partial(self._expire, pid)
        lost = Lost(
            socket.id,
            client.identity,
            client.since,
            client.came_with,
            methods,
            socket.next_call,
            expire,
        )
        lost.holding = self._room.open(client.account, lost)
        lost.deadline = self._expiry.add(expire)
        self._lost[pid] = lost
        if lost.holding.take(LOST_COST + len(client.subject) + sum(map(len, methods))):
            return True
        self._forget(pid)
        return False

    def stop(self) -> None:
        """Let go of the clock."""
        self._expiry.stop()
        self.replay.stop()

    def _enter(self, client: Client, pid: str, since: int, came_with: str | None = None) -> None:
        client.pid, client.since, client.came_with = pid, since, came_with
        self._live[pid] = client

    def _expect(self, identity: Identity) -> bool:
        """Without a log, nobody has an offset to come back with."""
        account, scope, subject, _ = identity
        return self.replay.expect(account, scope, subject)

    def _forget(self, pid: str) -> None:
        lost = self._lost.pop(pid)
        self._expiry.drop(lost.deadline)
        if lost.holding is not None:
            lost.holding.close()
        account, scope, subject, _ = lost.identity
        self.replay.give_up(account, scope, subject)

    def _expire(self, pid: str) -> None:
        account = self._lost[pid].identity[0]
        self._forget(pid)
        self.tidy(account)

    def tidy(self, account: str) -> None:
        """Let go of the log of an account without clients, unless somebody may come back to it."""
        if not self.connected(account):
            self.replay.leave(account)
