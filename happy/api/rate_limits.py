"""How often something may be done within a window of time."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

MINUTE = 60.0
MOST_KEYS = 100_000
UPLOAD_REQUESTS = 60
"""Upload requests of an account in a minute (http.md T1)."""
FRIEND_REQUESTS = 60
"""Changes an account may make to what it is to others, in a minute: they are told of each."""


def _to_nobody(key: str) -> None:
    """There are no other nodes."""


class Windows:
    """Counts uses of a key in windows of ``seconds`` that begin with the key's first use.

    At most ``limit`` uses fit a window; 0 means any number. Keys are kept as keyed digests and only
    until their window is over, so that an address given as a key is never held as such. Of more than
    :data:`MOST_KEYS` the oldest are forgotten.
    ``now`` is a clock in seconds.
    """

    tell: Callable[[str], None] = staticmethod(_to_nobody)
    """Is told the key of each use that was admitted, for others to :meth:`count`."""

    def __init__(self, limit: int, seconds: float, now: Callable[[], float]) -> None:
        self._limit = limit
        self._seconds = seconds
        self._now = now
        self._salt = secrets.token_bytes(16)
        self._open: OrderedDict[bytes, _Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, key: str) -> bool:
        """Count one use of ``key``; False when its window is full."""
        if not self._limit:
            return True
        admitted = self.count(key) <= self._limit
        if admitted:
            self.tell(key)
        return admitted

    def count(self, key: str) -> int:
        """Count one use of ``key``, wherever it was; how many there were in its window."""
        self._close()
        digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16, key=self._salt).digest()
        window = self._open.setdefault(digest, _Window(self._now()))
        if len(self._open) > MOST_KEYS:
            self._open.popitem(last=False)
        window.uses += 1
        return window.uses

    def _close(self) -> None:
        """Forget the windows that are over; the oldest comes first."""
        over = self._now() - self._seconds
        while self._open:
            digest, window = next(iter(self._open.items()))
            if window.since > over:
                return
            del self._open[digest]


@dataclass(slots=True)
class _Window:
    since: float
    uses: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Every limit of how often a client may ask.

    ``addresses`` counts the open authentication endpoints per peer address, ``logins`` logins per
    public key, ``uploads`` upload requests and ``friends`` changes of friendships per account.
    """

    addresses: Windows
    logins: Windows
    uploads: Windows
    friends: Windows

    @classmethod
    def per_minute(cls, now: Callable[[], float], *, addresses: int, logins: int) -> Limits:
        """The limits of a server; ``addresses`` and ``logins`` are uses a minute, 0 for any number."""
        return cls(
            addresses=Windows(addresses, MINUTE, now),
            logins=Windows(logins, MINUTE, now),
            uploads=Windows(UPLOAD_REQUESTS, MINUTE, now),
            friends=Windows(FRIEND_REQUESTS, MINUTE, now),
        )
