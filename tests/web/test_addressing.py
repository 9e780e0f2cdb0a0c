"""Who a request is from, whatever it says about itself."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from happy.web.addressing import UNKNOWN, Origins

TRUSTING = Origins([ip_network(text) for text in ("10.0.0.0/8", "192.0.2.7/32", "fd00::/8")])
SOCKET = UNIXAddress(b"/run/happy.sock")


def peer(host: str) -> object:
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, 40_000)


@pytest.mark.parametrize(
    ("host", "forwarded", "address"),
    [
        ("203.0.113.7", None, "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("192.168.0.2", "198.51.100.1", "192.168.0.2"),
        ("10.1.1.1", None, "10.1.1.1"),
        ("10.1.1.1", "", "10.1.1.1"),
        ("10.1.1.1", "198.51.100.1", "198.51.100.1"),
        ("10.1.1.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("10.1.1.1", "6.6.6.6,198.51.100.1, 192.0.2.7,10.2.3.4", "198.51.100.1"),
        ("10.1.1.1", "10.0.0.9, 10.0.0.8", "10.0.0.9"),
        ("10.1.1.1", "6.6.6.6, nonsense", "10.1.1.1"),
        ("10.1.1.1", "6.6.6.6, nonsense, 10.0.0.8", "10.0.0.8"),
        ("10.1.1.1", "6.6.6.6," + "10.0.0.8," * 20 + "10.0.0.7", "10.0.0.8"),
        ("10.1.1.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.1.1.1", " [2001:db8:1:2::3]:4711", "2001:db8:1:2::/64"),
        ("10.1.1.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("::ffff:10.1.1.1", "198.51.100.1", "198.51.100.1"),
        ("fd00::1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::3", None, "2001:db8:1:2::/64"),
        ("fe80::1%eth0", None, "fe80::/64"),
        ("::1", "198.51.100.1", "::/64"),
    ],
)
def test_address(host: str, forwarded: str | None, address: str) -> None:
    """Only a trusted proxy is believed, and of several the first that is none; IPv6 counts by network."""
    assert TRUSTING.address(peer(host), forwarded) == address
    assert TRUSTING.owner(peer(host), forwarded) == f"address:{address}"


@pytest.mark.parametrize(
    "host", ["203.0.113.7", "10.1.1.1", "2001:db8::1", "::ffff:10.1.1.1", "fe80::1%eth0"]
)
def test_connections(host: str) -> None:
    """A connection is paid for by its address, unless that is a proxy's."""
    for origins in (Origins(), TRUSTING):
        owner = None if origins.is_proxy(peer(host)) else origins.owner(peer(host), None)
        assert origins.connection_owner(peer(host)) == owner


def test_unix() -> None:
    """Whoever may use a unix socket speaks for others, even where no network is trusted."""
    assert Origins().is_proxy(SOCKET)
    assert Origins().address(SOCKET, "6.6.6.6, 198.51.100.1") == "198.51.100.1"
    assert Origins().address(SOCKET, None) == UNKNOWN


def test_proxies() -> None:
    """Nobody else does, unless configured."""
    assert TRUSTING.is_proxy(peer("10.9.9.9"))
    assert TRUSTING.is_proxy(peer("::ffff:10.9.9.9"))
    assert not TRUSTING.is_proxy(peer("11.0.0.1"))
    assert not Origins().is_proxy(peer("127.0.0.1"))
    assert not Origins().is_proxy(None)


@given(st.sampled_from(["10.0.0.1", "8.8.8.8"]), st.text(st.characters(codec="latin-1"), max_size=60))
def test_total(host: str, forwarded: str) -> None:
    """Whatever a client says, it is somebody."""
    assert TRUSTING.address(peer(host), forwarded)


class HintTests(SynchronousTestCase):
    """A proxy that nobody is told of."""

    def test_once(self) -> None:
        """The operator hears of it once, without any address, and not because of clients from outside."""
        logged: list[LogEvent] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        origins = Origins()
        origins.address(peer("8.8.8.8"), "1.2.3.4")
        self.assertEqual(logged, [])
        for _ in range(3):
            origins.address(peer("192.168.7.7"), "1.2.3.4")
        self.assertEqual(len(logged), 1)
        self.assertNotIn("192.168.7.7", str(logged))
