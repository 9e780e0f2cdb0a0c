"""The command line, as far as it needs no server."""

from __future__ import annotations

import socket

import pytest

from happy.bench.load import Load
from happy.bench.plan import PLANS
from happy.bench.population import Population
from happy.bench.scenarios import SCENARIOS
from happy.bench.streams import Sources, Unreachable, find
from happy.operator import ctl


def test_help_names_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    """Each scenario that exists has a plan and a line of help."""
    with pytest.raises(SystemExit) as stopped:
        ctl.main(["bench", "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert set(PLANS) == set(SCENARIOS)
    assert all(f"  {name} " in shown for name in PLANS)


@pytest.mark.parametrize(
    "wrong",
    [["nonsense"], ["rpc", "--seconds", "0"], ["rpc", "--batch", "101"], ["rpc", "--senders", "-1"], []]
    + [["rpc", option, path] for option in ("--json", "--html") for path in ("/nowhere/report", "/")],
)
def test_wrong_arguments(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Arguments that mean nothing are refused with usage and status 2."""
    with pytest.raises(SystemExit) as stopped:
        ctl.main(["bench", "http://127.0.0.1:1", *wrong])
    assert stopped.value.code == 2
    assert "happyctl bench: error: " in capsys.readouterr().err


def test_unreachable(capfd: pytest.CaptureFixture[str]) -> None:
    """A server that does not listen is named in one line."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        assert ctl.main(["bench", url, "fanout", "--sockets", "1"]) == 2
    assert capfd.readouterr().err == f"happyctl: {url}: connection refused\n"


def test_stranger(capfd: pytest.CaptureFixture[str]) -> None:
    """No room for the sockets is said before anything is done."""
    assert ctl.main(["bench", "http://127.0.0.1:1", "fanout", "--sockets", "100000000"]) == 2
    assert "ulimit -n" in capfd.readouterr().err


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://no.such.host.invalid"])
def test_bad_addresses(url: str) -> None:
    """What cannot be an address of a server is refused in words."""
    with pytest.raises(Unreachable):
        find(url)


def test_addresses() -> None:
    """A URL may leave out scheme and port; the Host header leaves out the usual port."""
    assert find("127.0.0.1:3005").authority == "127.0.0.1:3005"
    assert find("http://127.0.0.1").authority == "127.0.0.1"
    assert (find("https://127.0.0.1").port, find("https://127.0.0.1").secure) == (443, True)


def test_sources() -> None:
    """Source addresses take turns on the loopback, and are left to the system elsewhere."""
    sources = Sources(find("127.0.0.1:1"), 3)
    assert [sources.take() for _ in range(4)] == ["127.1.0.1", "127.1.0.2", "127.1.0.3", "127.1.0.1"]
    assert Sources(find("127.0.0.1:1"), 1).take() is None
    assert Sources(find("10.0.0.1:1"), 3).take() is None


def test_room() -> None:
    """More workers come where descriptors are few, and more addresses where ports are."""
    plan = PLANS["idle"]
    load = Load(scenario="idle", seconds=1, sockets=50_000)
    assert plan.workers(load, room=20_000, cores=2) == 3
    assert plan.addresses(load) == 6


def test_population() -> None:
    """The hosted service at full scale has its published size, and any part of it has everybody."""
    whole, least = Population.of(1.0), Population.of(0.0001)
    assert whole.sockets == 23_950
    assert (whole.session_heartbeats, whole.machine_heartbeats, whole.messages) == (5000, 370, 180)
    assert min(least.machines, least.sessions, least.apps, least.accounts) >= 1
