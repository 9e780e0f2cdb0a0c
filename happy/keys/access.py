"""Whom the operator keeps out: disabled accounts, and tokens that are revoked.

Every token is held against this, so it is in memory: a copy of what the database has, which is renewed within
a second of a change (:mod:`happy.service.access`).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Final, NamedTuple

from happy.base.errors import AccountDisabled

MOST_SEEN: Final = 10_000
"""Pairings that are remembered to be noted in the database; later ones are noted when they come again."""


MOST_REFUSED: Final = 500
"""Keys that are remembered for a second as refused; of more at once the others are not told apart."""


class KeptOut(NamedTuple):
    """Who is kept out: accounts that are disabled, the second up to which tokens of an account are refused,
    and pairings whose tokens are refused, each with its account."""

    disabled: frozenset[str] = frozenset()
    revoked: Mapping[str, int] = {}
    pairings: Mapping[str, str] = {}


class SeenPairing(NamedTuple):
    """A pairing whose token connected: of which account, issued and seen when (epoch s), as which machine."""

    account: str
    issued_at: float
    seen_at: float
    machine: str | None


class Access:
    """What the operator says of accounts and tokens, as far as this process knows."""

    def __init__(self) -> None:
        self.refused = KeptOut()
        self._seen: dict[str, SeenPairing] = {}
        self._refused_keys: dict[str, int] = {}

    def check(self, account: str) -> None:
        """Raises AccountDisabled."""
        if account in self.refused.disabled:
            raise AccountDisabled

    def admits(self, account: str, issued_at: float, pairing: str | None) -> bool:
        """Whether a token is not revoked. Raises AccountDisabled."""
        disabled, revoked, pairings = self.refused
        if not (disabled or revoked or pairings):
            return True
        if account in disabled:
            raise AccountDisabled
        return issued_at > revoked.get(account, -inf) and pairing not in pairings

    def earliest(self, account: str, now: int) -> int:
        """The second from which on a token issued now is to be: after those that are revoked.

        The clock may have been put back since, and the second of a revocation goes on after it.
        """
        return max(now, self.refused.revoked.get(account, now - 1) + 1)

    def note(self, pairing: str, seen: SeenPairing) -> None:
        """A pairing's token connected."""
        if pairing in self._seen or len(self._seen) < MOST_SEEN:
            before = self._seen.get(pairing)
            if seen.machine is None and before is not None:
                seen = seen._replace(machine=before.machine)
            self._seen[pairing] = seen

    def note_refused(self, fingerprint: str) -> None:
        """A key of nobody was refused."""
        if fingerprint in self._refused_keys or len(self._refused_keys) < MOST_REFUSED:
            self._refused_keys[fingerprint] = self._refused_keys.get(fingerprint, 0) + 1

    def take_refused(self) -> dict[str, int]:
        """How often keys were refused since the last call, by fingerprint."""
        refused, self._refused_keys = self._refused_keys, {}
        return refused

    def take_seen(self) -> dict[str, SeenPairing]:
        """What was noted since the last call."""
        seen, self._seen = self._seen, {}
        return seen
