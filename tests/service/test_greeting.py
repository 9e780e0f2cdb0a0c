"""The line that says where a server is."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from happy.service import greeting as module
from happy.service.greeting import addresses, greeting, own_addresses
from happy.service.status import Sockets, StatusReport
from happy.settings.config import Config

REPORT = StatusReport(
    version="1.0",
    uptime_ms=0,
    ready=True,
    reasons=[],
    sockets=Sockets(0, 0, 0),
    accounts=1234,
    pairings=0,
    database_bytes=0,
    files_bytes=0,
    free_bytes=0,
    last_backup_at=None,
    nodes=[],
    postgres="18.1",
    listening=[],
)


def test_line() -> None:
    """All that one has to know stands in one line."""
    line = greeting(Config(), REPORT, ["http://192.168.1.10:3005", "unix:/run/happy.sock"], "open")
    where = "http://192.168.1.10:3005 and unix:/run/happy.sock"
    assert (
        line == f"Happy server 1.0 at {where}, 1,234 accounts, registration open, PostgreSQL 18.1 (embedded)"
    )


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses are those that a phone can be given: of this machine where it listens everywhere."""
    monkeypatch.setattr(module, "own_addresses", lambda: ["192.168.1.10", "2001:db8::7"])
    listening = [
        ("tcp:3005:interface=0.0.0.0", IPv4Address("TCP", "0.0.0.0", 3005)),
        ("ssl:443:interface=\\:\\:", IPv6Address("TCP", "::", 443)),
        ("tcp:80:interface=127.0.0.1", IPv4Address("TCP", "127.0.0.1", 80)),
        ("unix:/run/happy.sock", UNIXAddress(b"/run/happy.sock")),
    ]
    assert addresses(Config(), listening) == [
        "http://192.168.1.10:3005",
        "https://192.168.1.10:443",
        "https://[2001:db8::7]:443",
        "http://localhost:80",
        "unix:/run/happy.sock",
    ]
    assert addresses(Config(public_url="https://happy.example"), listening) == ["https://happy.example"]


def test_own_addresses() -> None:
    """There is always one."""
    assert own_addresses()
