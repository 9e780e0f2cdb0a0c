"""Whose turn it is, by what turns have cost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from happy.base.rotation import Rotation


def filled(**lines: str) -> Rotation[str]:
    """Lines of owners, each waiter a letter."""
    rotation: Rotation[str] = Rotation(10.0)
    for owner, waiters in lines.items():
        for waiter in waiters:
            rotation.add(owner, waiter)
    return rotation


def served(rotation: Rotation[str], count: int, **costs: float) -> str:
    """The next ones, each of whom costs what its owner's do."""
    order = ""
    for _ in range(count):
        turn = rotation.take()
        assert turn is not None
        owner, waiter = turn
        order += waiter
        rotation.charge(owner, costs.get(owner, 1.0))
    return order


def test_turns() -> None:
    """Owners whose turns cost the same have one after the other, each in the order of coming."""
    rotation = filled(a="123", b="xy", c="!")
    assert served(rotation, 6) == "1x!2y3"
    assert rotation.take() is None
    assert rotation.size == 0


def test_cost() -> None:
    """Whoever's turns cost a third has three times as many."""
    rotation = filled(a="12345678", b="abcdefgh")
    order = served(rotation, 8, a=3.0)
    assert sorted(order) == sorted("12abcdef")


def test_newcomer() -> None:
    """Who comes anew is served before all who have had more than the least, and no more than once for it."""
    rotation = filled(**{f"busy {number}": "bbb" for number in range(30)})
    served(rotation, 45)
    rotation.add("new", "n")
    assert "n" in served(rotation, 16)
    rotation.add("new", "n")
    assert "n" in served(rotation, 29)[1:]


def test_who_comes_back_is_not_new() -> None:
    """To have nothing that waits for a moment makes nobody new: what it had is remembered."""
    rotation = filled(a="1", b="abcd")
    assert served(rotation, 1, a=2.5) == "1"
    rotation.add("a", "2")
    assert served(rotation, 4) == "abc2"


def test_debt_has_a_bound() -> None:
    """However much somebody had, its turn comes after a while."""
    rotation = filled(a="12", b="x" * 40)
    assert served(rotation, 1, a=1000.0) == "1"
    assert served(rotation, 20).index("2") in range(9, 13)


def test_nothing_is_remembered_when_nobody_waits() -> None:
    """Whose turn was last, and cost however much, has no less than others when everybody comes anew."""
    rotation = filled(a="1")
    served(rotation, 1, a=5.0)
    rotation.add("a", "2")
    rotation.add("b", "x")
    assert served(rotation, 2) == "2x"


def test_who_may_not() -> None:
    """An owner that may not have a turn is passed over, and keeps its place."""
    rotation = filled(a="1", b="x", c="!")
    assert rotation.take(lambda owner: owner != "a") == ("b", "x")
    assert rotation.take(lambda owner: False) is None
    assert rotation.take() == ("a", "1")


def test_going_away() -> None:
    """Who does not wait any more is not served, and neither is it there twice when its owner comes back."""
    rotation = filled(a="1", b="x")
    assert rotation.remove("a", "1")
    assert not rotation.remove("a", "1")
    assert not rotation.remove("c", "1")
    assert "a" not in rotation
    rotation.add("a", "2")
    assert (served(rotation, 2), rotation.size) == ("x2", 0)
    assert rotation.take() is None


def test_memory() -> None:
    """What is remembered of owners that went is forgotten, also while others wait all the time."""
    rotation = filled(a="x" * 5000)
    for number in range(2000):
        rotation.add(str(number), "y")
        served(rotation, 2, a=0.5)
    assert len(rotation._passed) < 300
    assert len(rotation._heap) < 300


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 20)), max_size=60))
def test_everybody_is_served_once(waiters: list[tuple[str, float]]) -> None:
    """Whatever turns cost, all are served, those of an owner in order."""
    rotation: Rotation[tuple[int, float]] = Rotation(10.0)
    order = []
    for place, (owner, cost) in enumerate(waiters):
        rotation.add(owner, (place, cost))
        if place % 3 == 0:
            turn = rotation.take()
            assert turn is not None
            order.append(turn)
            rotation.charge(turn[0], turn[1][1])
    while (turn := rotation.take()) is not None:
        order.append(turn)
    assert rotation.size == 0
    for owner in "abc":
        places = [waiter[0] for name, waiter in order if name == owner]
        assert places == [place for place, (name, _) in enumerate(waiters) if name == owner]
