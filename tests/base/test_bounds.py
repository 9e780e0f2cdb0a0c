"""Shared bounds: who gets something, and who loses it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from happy.base import bounds
from happy.base.bounds import CROWDED_OUT, OVER_SHARE, Budget, Holding


class Holder:
    """Holds something, and notes when it had to let go."""

    def __init__(self, budget: Budget, owner: str) -> None:
        self.lost = False
        self.holding = budget.open(owner, self)

    def give_up(self) -> None:
        self.lost = True


def test_half_is_the_most() -> None:
    """An owner has at most half, however many holdings it has."""
    whys: list[str] = []
    budget = Budget(100, refused=whys.append)
    first, second = Holder(budget, "a"), Holder(budget, "a")
    assert first.holding.take(30)
    assert not second.holding.take(21)
    assert second.holding.take(20)
    assert whys == [OVER_SHARE]
    assert (budget.used, budget.used_by("a"), budget.used_by("b")) == (50, 50, 0)


def test_the_largest_holder_pays() -> None:
    """When everything is taken, the largest holding of the largest owner goes."""
    whys: list[str] = []
    budget = Budget(100, refused=whys.append)
    small, large, other = Holder(budget, "a"), Holder(budget, "a"), Holder(budget, "b")
    assert small.holding.take(10) and large.holding.take(38) and other.holding.take(45)
    guest = Holder(budget, "c")
    assert guest.holding.take(20)
    assert (small.lost, large.lost, other.lost) == (False, True, False)
    assert whys == [CROWDED_OUT]
    assert budget.used == 75


@pytest.mark.parametrize("latest", [False, True])
def test_of_equals(latest: bool) -> None:
    """Of equally large holdings the oldest goes, or in a line the newest."""
    budget = Budget(100, latest=latest)
    first, second, other = Holder(budget, "a"), Holder(budget, "a"), Holder(budget, "b")
    assert all(holder.holding.take(25) for holder in (first, second, other))
    assert Holder(budget, "c").holding.take(30)
    assert (first.lost, second.lost) == (not latest, latest)


def test_the_largest_asks_in_vain() -> None:
    """Who would have the most afterwards is refused, and nobody loses anything."""
    budget = Budget(100)
    holders = [Holder(budget, owner) for owner in "abc"]
    assert all(holder.holding.take(30) for holder in holders)
    assert not holders[0].holding.take(15)
    assert not any(holder.lost for holder in holders)


def test_lost_is_lost() -> None:
    """Nothing is given back twice, and nothing can be taken on a holding that was lost or closed."""
    budget = Budget(100)
    victim, guest = Holder(budget, "a"), Holder(budget, "b")
    assert victim.holding.take(50) and guest.holding.take(40)
    assert guest.holding.take(9) and Holder(budget, "c").holding.take(30)
    assert victim.lost
    victim.holding.give_back(10)
    assert not victim.holding.take(1)
    victim.holding.close()
    victim.holding.close()
    assert budget.used == 79


def test_moving() -> None:
    """After a login the account pays, if it can."""
    budget = Budget(100)
    mine, yours = Holder(budget, "address"), Holder(budget, "account")
    assert mine.holding.take(30) and yours.holding.take(30)
    assert not mine.holding.move("account")
    mine.holding.give_back(10)
    assert mine.holding.move("account")
    assert (budget.used_by("address"), budget.used_by("account")) == (0, 50)


@given(st.integers(1, 1000), st.integers(0, 1000))
def test_what_is_closed_leaves_nothing(size: int, amount: int) -> None:
    """An owner without holdings is forgotten."""
    budget = Budget(size)
    holder = Holder(budget, "a")
    assert holder.holding.take(amount) == (amount <= size // 2)
    holder.holding.close()
    assert budget.used == 0
    assert not budget._owners


def test_many_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks when everything is taken has not to look at everybody; who left is not remembered."""
    looks: list[object] = []
    is_valid = bounds._is_valid
    monkeypatch.setattr(bounds, "_is_valid", lambda entry: looks.append(entry) or is_valid(entry))
    budget = Budget(20_000)
    holders = [Holder(budget, str(number)) for number in range(10_000)]
    assert all(holder.holding.take(2) for holder in holders)
    for number in range(1_000):
        assert not Holder(budget, f"late {number}").holding.take(2)
        assert not holders[number].holding.take(1)
    assert len(looks) < 50_000
    for holder in holders:
        holder.holding.close()
    for number in range(1_000):
        holder = Holder(budget, f"later {number}")
        assert holder.holding.take(1)
        holder.holding.close()
    assert len(budget._largest._heap) < 3_000


class Sharing(RuleBasedStateMachine):
    """Any sequence of what holders may do keeps the sums right and within the bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(100)
        self.holders: list[Holder] = []

    @rule(owner=st.sampled_from("abcde"))
    def open(self, owner: str) -> None:
        self.holders.append(Holder(self.budget, owner))

    @rule(which=st.integers(0, 99), amount=st.integers(0, 60))
    def take(self, which: int, amount: int) -> None:
        if self.holders:
            self.holders[which % len(self.holders)].holding.take(amount)

    @rule(which=st.integers(0, 99), amount=st.integers(0, 60))
    def give_back(self, which: int, amount: int) -> None:
        if self.holders:
            holding = self.holders[which % len(self.holders)].holding
            holding.give_back(min(amount, holding.size))

    @rule(which=st.integers(0, 99), owner=st.sampled_from("abcde"))
    def move(self, which: int, owner: str) -> None:
        if self.holders:
            self.holders[which % len(self.holders)].holding.move(owner)

    @rule(which=st.integers(0, 99))
    def close(self, which: int) -> None:
        if self.holders:
            self.holders.pop(which % len(self.holders)).holding.close()

    @invariant()
    def largest(self) -> None:
        owners = self.budget._owners.values()
        if any(owner.used for owner in owners):
            assert self.budget._largest.find() is max(owners, key=lambda owner: owner.used)

    @invariant()
    def sums(self) -> None:
        of: dict[str, int] = {}
        for holder in self.holders:
            holding: Holding = holder.holding
            assert holding.size >= 0 and not (holder.lost and holding.size)
            of[holding._owner.name] = of.get(holding._owner.name, 0) + holding.size
        assert self.budget.used == sum(of.values()) <= self.budget.size
        for name, used in of.items():
            assert self.budget.used_by(name) == used <= self.budget.share


TestSharing = Sharing.TestCase


@pytest.mark.parametrize("share", [10, 90])
def test_a_share_of_ones_own(share: int) -> None:
    """The share need not be half."""
    budget = Budget(100, share=share)
    holder = Holder(budget, "a")
    assert holder.holding.take(share) and not holder.holding.take(1)
