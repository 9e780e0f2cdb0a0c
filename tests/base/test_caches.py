"""What is remembered for many, and who loses what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from happy.base.caches import OwnedCache

SIZE, SHARE = 8, 4
KEYS = st.integers(0, 15)
OWNERS = st.sampled_from("abcde")


class CacheMachine(RuleBasedStateMachine):
    """The cache beside a list of (owner, key, value), the oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: list[tuple[int, object]] = []
        self.cache: OwnedCache[int, object] = OwnedCache(
            SIZE, SHARE, lambda key, value: self.lost.append((key, value))
        )
        self.model: list[tuple[str, int, object]] = []

    def count(self, owner: str) -> int:
        return sum(one[0] == owner for one in self.model)

    def oldest(self, owner: str) -> tuple[str, int, object]:
        return next(one for one in self.model if one[0] == owner)

    @rule(owner=OWNERS, key=KEYS)
    def put(self, owner: str, key: int) -> None:
        """A new value takes the place of its owner's oldest, or of one of the owners that have most."""
        self.model = [one for one in self.model if one[1] != key]
        full, over = len(self.model) >= SIZE, self.count(owner) >= SHARE
        value = object()
        self.lost.clear()
        self.cache.put(owner, key, value)
        assert len(self.lost) == (full or over)
        for gone, _ in self.lost:
            victim = next(one for one in self.model if one[1] == gone)
            assert victim == self.oldest(victim[0])
            most = max(map(self.count, "abcde"))
            assert victim[0] == owner if over else self.count(victim[0]) == most
            self.model.remove(victim)
        self.model.append((owner, key, value))

    @rule(key=KEYS)
    def pop(self, key: int) -> None:
        """What is taken out is gone."""
        found = [one[2] for one in self.model if one[1] == key]
        assert self.cache.pop(key) == (found[0] if found else None)
        self.model = [one for one in self.model if one[1] != key]

    @invariant()
    def holds_the_same(self) -> None:
        """The cache has what the list has, within the bounds, and nothing besides."""
        assert list(self.cache.items()) == [one[1:] for one in self.model]
        assert all(self.cache.get(key) is value for _, key, value in self.model)
        assert len(self.cache) == len(self.model) <= SIZE
        assert all(self.count(owner) <= SHARE for owner in "abcde")
        assert self.cache._of.keys() == {one[0] for one in self.model}
        assert sum(map(len, self.cache._with.values())) == len(self.cache._of)


TestCache = CacheMachine.TestCase


@given(st.lists(st.tuples(OWNERS, KEYS), max_size=40))
def test_nobody_is_pushed_out(others: list[tuple[str, int]]) -> None:
    """An owner with one value keeps it while another has more."""
    cache: OwnedCache[int, str] = OwnedCache(SIZE, SIZE)
    cache.put("z", -1, "mine")
    for key in range(SIZE * 2):
        cache.put("a", key, "theirs")
    assert cache.get(-1) == "mine"
    for owner, key in others:
        cache.put(owner, key, "theirs")
    if len({owner for owner, _ in others} | {"a"}) < SIZE - 1:
        assert cache.get(-1) == "mine"
