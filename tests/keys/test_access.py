"""Who is kept out, as far as memory tells."""

from __future__ import annotations

from math import inf

import pytest

from happy.base.errors import AccountDisabled
from happy.keys import access
from happy.keys.access import Access, KeptOut, SeenPairing
from happy.keys.tokens import Keys, Tokens

KEYS = Keys(bearer_seed=b"b" * 32, state_seed=b"s" * 32, vault_master=b"v" * 64)


def test_nobody_is_kept_out() -> None:
    """Where nothing was said, everybody is let in, also with a token that does not say when it was issued."""
    assert Access().admits("ann", -inf, None)


def test_revoked() -> None:
    """Tokens up to the second of a revocation are refused, those of others are not."""
    kept = Access()
    kept.refused = KeptOut(revoked={"ann": 100}, pairings={"p": "bob"})
    assert [kept.admits("ann", second, None) for second in (-inf, 99, 100, 101)] == [False] * 3 + [True]
    assert [kept.admits("bob", 100, pairing) for pairing in (None, "p", "q")] == [True, False, True]


def test_disabled() -> None:
    """A disabled account is told so, whatever its token."""
    kept = Access()
    kept.refused = KeptOut(disabled=frozenset({"ann"}))
    for asked in (lambda: kept.admits("ann", 5, None), lambda: kept.check("ann")):
        with pytest.raises(AccountDisabled):
            asked()
    kept.check("bob")


def test_issued_after_a_revocation() -> None:
    """A token is good that is issued in the second of a revocation, or after the clock was put back."""
    kept, time = Access(), [100.5]
    tokens = Tokens(KEYS, lambda: time[0], access=kept)
    before = tokens.issue("ann")
    kept.refused = KeptOut(revoked={"ann": 100})
    assert tokens.verify(before) is None
    assert tokens.verify(tokens.issue("ann")) == "ann"
    time[0] = 70
    after = tokens.issue("ann")
    assert Tokens(KEYS, lambda: time[0], access=kept).verify(after) == "ann"
    assert Tokens(KEYS, lambda: time[0], access=kept).verify(before) is None


def test_pairings_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was seen is taken once; a machine is remembered; more than there is room for is not noted."""
    monkeypatch.setattr(access, "MOST_SEEN", 1)
    kept = Access()
    kept.note("p", SeenPairing("ann", 1, 2, "laptop"))
    kept.note("p", SeenPairing("ann", 1, 3, None))
    kept.note("q", SeenPairing("bob", 1, 3, None))
    assert kept.take_seen() == {"p": SeenPairing("ann", 1, 3, "laptop")}
    assert kept.take_seen() == {}
