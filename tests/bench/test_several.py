"""Sockets over several servers."""

from __future__ import annotations

from happy.bench.accounts import Account, Scope
from happy.bench.bench import Bench, nobody
from happy.bench.load import Job, Load
from happy.bench.loop import Loop
from happy.bench.streams import find_all


def test_apart() -> None:
    """Servers are taken in turn, and somebody's counterpart is on another one than it."""
    targets = find_all("http://127.0.0.1:1,http://127.0.0.1:2,127.0.0.1:3")
    load = Load(scenario="rpc", seconds=1.0)
    job = Job(url="", run="x", load=load, index=1, workers=2, addresses=0)
    bench = Bench(Loop(), targets, job, lambda fact: None)
    account = Account(1, "token")
    links = [bench.link(account, Scope.app(), nobody) for _ in range(4)]
    apart = [bench.link(account, Scope.app(), nobody, apart=link) for link in links]
    assert [link.target.port for link in links] == [1, 2, 3, 1]
    assert [link.target.port for link in apart] == [2, 3, 1, 2]
    assert bench.target.port == 2
    for link in (*links, *apart):
        link.close()


def test_alone() -> None:
    """With one server everybody is there."""
    targets = find_all("http://127.0.0.1:1")
    job = Job(url="", run="x", load=Load(scenario="rpc", seconds=1.0), index=1, workers=2, addresses=0)
    bench = Bench(Loop(), targets, job, lambda fact: None)
    link = bench.link(Account(1, "token"), Scope.app(), nobody)
    other = bench.link(Account(1, "token"), Scope.app(), nobody, apart=link)
    assert {link.target, other.target} == set(targets)
    link.close()
    other.close()
