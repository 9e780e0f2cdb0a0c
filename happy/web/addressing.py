"""Where a request comes from, and where its sender reaches us.

Two questions with different answers about what a client may claim. Who somebody is decides about shares and
limits, so ``X-Forwarded-For`` counts only from a proxy that the operator trusts. Where we are reached goes
into addresses of the answer to that very client, so it may say whatever it likes (http.md T1).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.address import UNIXAddress
from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.web.http import Request

    from happy.settings.config import Config

UNKNOWN: Final = "unknown"

_MOST_PROXIES: Final = 16
"""Proxies behind each other that are looked through."""

_IPV6_PREFIX: Final = 64
"""Bits of an IPv6 address that tell one customer of a provider from another."""

_Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Origins:
    """Finds out whose a request is; ``trusted`` are the networks of reverse proxies.

    A peer on a unix socket, which has no address, is trusted too: only who may open its file gets there.
    """

    _log = Logger()

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)
        self._hinted = False

    def connection_owner(self, peer: object) -> str | None:
        """Who pays for a connection; None for one of a proxy, which speaks for many."""
        host = getattr(peer, "host", None)
        if host is not None and not self._trusted and ":" not in host:
            return f"address:{host}"  # the usual case, as the general one has it
        return None if self.is_proxy(peer) else self.owner(peer, None)

    def is_proxy(self, peer: object) -> bool:
        """Whether a connection's other side speaks for others."""
        if isinstance(peer, UNIXAddress):
            return True
        address = _parsed(str(getattr(peer, "host", "")))
        return address is not None and self._trusts(address)

    def address(self, peer: object, forwarded: str | None) -> str:
        """The client's address, of IPv6 the network; only to be counted, never stored or logged.

        ``peer`` is the connection's other side as Twisted has it, ``forwarded`` as :func:`forwarded_for`.
        """
        address = _parsed(str(getattr(peer, "host", "")))
        if forwarded:
            if isinstance(peer, UNIXAddress) or (address is not None and self._trusts(address)):
                address = self._client(forwarded) or address
            elif address is not None and not address.is_global:
                self._hint()
        return _named(address)

    def owner(self, peer: object, forwarded: str | None) -> str:
        """Who pays for what a request takes before its account is known; arguments as for :meth:`address`."""
        return f"address:{self.address(peer, forwarded)}"

    def _client(self, forwarded: str) -> _Address | None:
        """Each proxy adds whom it heard at the end: the last one that is no proxy of ours is the client."""
        found = None
        for text in reversed(forwarded.split(",")[-_MOST_PROXIES:]):
            address = _parsed(text)
            if address is None:
                break
            found = address
            if not self._trusts(address):
                break
        return found

    def _trusts(self, address: _Address) -> bool:
        return any(address in network for network in self._trusted)

    def _hint(self) -> None:
        """Tell the operator, once, what a proxy that nobody is told of costs."""
        if not self._hinted:
            self._hinted = True
            self._log.warn(
                "A proxy sends X-Forwarded-For, but is not in trusted-proxies: all behind it count as one"
            )


@lru_cache(maxsize=1024)
def _parsed(text: str) -> _Address | None:
    """An address as proxies write it: perhaps with a port, in brackets, or with a zone."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _named(address: _Address | None) -> str:
    if address is None:
        return UNKNOWN
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address)


def forwarded_for(request: Request) -> str | None:
    """What all headers ``X-Forwarded-For`` of a request say, joined by commas."""
    values = request.requestHeaders.getRawHeaders(b"x-forwarded-for")
    return b",".join(values).decode("latin-1") if values else None


class Arrived(Protocol):
    """What tells how a request reached us, of an :class:`~happy.web.asked.Asked`."""

    def header(self, name: str) -> str | None:
        """The first value of a header; its name is in lower case."""

    def secure(self) -> bool:
        """Whether it came through TLS."""


def base_url(request: Arrived, config: Config) -> str:
    """The server's address as the client uses it, without a trailing slash (http.md T1).

    Of a forwarded header with several values, the first counts (D20).
    """
    if config.public_url:
        return config.public_url
    host = _first(request, "x-forwarded-host") or _first(request, "host")
    if not host:
        return f"http://localhost:{config.port}"
    scheme = _first(request, "x-forwarded-proto") or ("https" if request.secure() else "http")
    return f"{scheme}://{host}"


def _first(request: Arrived, name: str) -> str:
    return (request.header(name) or "").partition(",")[0].strip()
