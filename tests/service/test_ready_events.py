"""Which of the connections that are ready come first."""

from __future__ import annotations

from select import EPOLLIN
from types import SimpleNamespace
from typing import Any

from happy.service import ready_events
from happy.service.ready_events import FEW, Event, ReadyEvents, owner_of

MANY = 10 * FEW


def connection(owner: str) -> Any:
    return SimpleNamespace(protocol=SimpleNamespace(name=owner))


class Listening:
    """A port."""

    def startListening(self) -> None:
        """It does already."""


class Local:
    """A client that came by a UNIX socket."""

    client = ""


def events(*descriptors: int) -> list[Event]:
    return [(descriptor, EPOLLIN) for descriptor in descriptors]


def test_owners_take_turns() -> None:
    """However many of one owner's are ready, one of another's comes after one of them."""
    ready = ReadyEvents({**{one: connection("a") for one in range(MANY)}, MANY: connection("b")})
    assert ready.order(events(*range(MANY + 1)))[:3] == events(0, MANY, 1)


def test_what_the_server_asked_for() -> None:
    """Answers to the server itself come before what clients ask; not so a port, or who came by a socket."""
    database, port, local = object(), Listening(), Local()
    clients = {one: connection(str(one)) for one in range(MANY)}
    ready = ReadyEvents({**clients, MANY: port, MANY + 1: local, MANY + 2: database})
    order = ready.order(events(*range(MANY + 3)))
    assert (order[0], *order[-2:]) == (*events(MANY + 2), *events(MANY, MANY + 1))


def test_few() -> None:
    """A handful stays in the system's order, unless there was no time for all of them."""
    ready = ReadyEvents({0: connection("a"), 1: connection("a"), 2: connection("b"), 3: connection("b")})
    few = events(0, 1, 2, 3)
    assert ready.order(few) == few
    ready.served(few, 1)
    assert ready.order(few) == events(1, 2, 3, 0)


def test_who_was_left() -> None:
    """Those without a turn come first the next time, whatever the system's order is."""
    ready = ReadyEvents({one: connection("a") for one in range(MANY)})
    every, heard = events(*range(MANY)), []
    for _ in range(MANY // 8):
        order = ready.order(every)
        heard += order[:8]
        ready.served(order, 8)
    assert sorted(heard) == every


def test_who_was_left_of_more_than_are_told(monkeypatch: Any) -> None:
    """The same where the system tells of some at a time only; nobody who is gone is remembered."""
    monkeypatch.setattr(ready_events, "MOST_READY", MANY)
    ready = ReadyEvents({one: connection("a") for one in range(2 * MANY)})
    first, second = events(*range(MANY)), events(*range(MANY, 2 * MANY))
    heard = []
    for told in [first, second] * 3:
        order = ready.order(told)
        heard += order[: MANY // 3 + 1]
        ready.served(order, MANY // 3 + 1)
    assert set(heard) == {*first, *second}
    ready.served(events(1, 2), 1)
    assert list(ready.left) == [2]


def test_owner() -> None:
    """An owner is known by its name, also beneath TLS, by its address, or is the connection alone."""
    named = connection("a")
    assert owner_of(named) == "a"
    assert owner_of(SimpleNamespace(protocol=SimpleNamespace(wrappedProtocol=named.protocol))) == "a"
    unnamed = SimpleNamespace(protocol=SimpleNamespace(name=""), client=("192.0.2.1", 5))
    assert owner_of(unnamed) == "192.0.2.1"
    local = SimpleNamespace(client="")
    assert owner_of(local) is local
    assert owner_of(None) is None
