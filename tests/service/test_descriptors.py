"""How many files may be open."""

from __future__ import annotations

import resource

import pytest
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor
from twisted.logger import LogEvent, globalLogPublisher

from happy.service import descriptors
from happy.settings.endpoints import BACKLOG, with_backlog


def raised(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> tuple[int, list[int], list[LogEvent]]:
    """What is answered, asked of the system and logged, with these limits."""
    asked: list[int] = []
    logged: list[LogEvent] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits[0]))
    globalLogPublisher.addObserver(logged.append)
    try:
        return descriptors.raise_limit(), asked, logged
    finally:
        globalLogPublisher.removeObserver(logged.append)


@pytest.mark.parametrize(
    ("soft", "hard", "limit"),
    [
        (1024, 20_000, 20_000),
        (20_000, 20_000, 20_000),
        (1024, resource.RLIM_INFINITY, descriptors.MANY),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, descriptors.MANY),
    ],
)
def test_raised_as_far_as_allowed(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, limit: int) -> None:
    """The limit is raised to what the system allows, within reason, and nothing is said of it."""
    answer, asked, logged = raised(monkeypatch, soft, hard)
    assert answer == limit
    assert asked == ([limit] if soft == 1024 else [])
    assert logged == []


def test_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A low limit is logged with what it means and what helps."""
    answer, asked, [logged] = raised(monkeypatch, 1024, 1024)
    assert (answer, asked) == (1024, [])
    assert (logged["soft"], logged["clients"]) == (1024, 768)
    assert "ulimit" in logged["log_format"]


def test_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that cannot be raised is lived with."""

    def refuse(_: int, limits: tuple[int, int]) -> None:
        raise ValueError("no")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (5000, 20_000))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert descriptors.raise_limit() == 5000


def test_some_are_not_for_clients() -> None:
    """Clients leave descriptors for the rest of the server, however few there are."""
    assert descriptors.most_clients(20_000) == 20_000 - descriptors.RESERVED
    assert descriptors.most_clients(100) == 50


@pytest.mark.parametrize("description", ["tcp:0:interface=127.0.0.1", "tcp6:0", "unix:/tmp/x"])
def test_many_may_wait(description: str) -> None:
    """A port lets thousands of clients wait that connect at once."""
    reactor = MemoryReactor()
    serverFromString(reactor, with_backlog(description)).listen(Factory())
    [listening] = reactor.tcpServers + reactor.unixServers
    assert BACKLOG in listening


def test_own_backlog() -> None:
    """Who asks for another length gets it, and sockets made elsewhere keep theirs."""
    for description in ("tcp:3005:backlog=7", "systemd:domain=INET:index=0"):
        assert with_backlog(description) == description
