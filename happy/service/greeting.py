"""What the log says when a server is ready: all that one has to know to point a phone at it."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

if TYPE_CHECKING:
    from happy.service.status import StatusReport
    from happy.settings.config import Config

_FAR: Final = ((socket.AF_INET, "198.51.100.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses of nobody, beyond this network (RFC 5737, RFC 3849)."""

_LOOPBACK: Final = {"127.0.0.1": "localhost", "::1": "localhost"}
_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})


def greeting(config: Config, report: StatusReport, addresses: Sequence[str], registration: str) -> str:
    """Version, addresses, accounts, registration and database in one line."""
    kind = "external" if config.database_url else "embedded"
    accounts = "accounts unknown" if report.accounts is None else f"{report.accounts:,} accounts"
    parts = [
        f"Happy server {report.version} at {' and '.join(addresses) or 'no address'}",
        "1 account" if report.accounts == 1 else accounts,
        f"registration {registration}",
        f"PostgreSQL {report.postgres or 'of unknown version'} ({kind})",
    ]
    return ", ".join(parts)


def addresses(config: Config, listening: Iterable[tuple[str, object]]) -> list[str]:
    """Where clients reach the server: what the operator says, or else what it listens on.

    ``listening`` has endpoint strings, each with the address that came of it.
    """
    if config.public_url:
        return [config.public_url]
    found = [url for description, address in listening for url in _urls(description, address)]
    return list(dict.fromkeys(found))


def _urls(description: str, address: object) -> list[str]:
    if isinstance(address, UNIXAddress):
        return [f"unix:{_decoded(address.name)}"]
    if not isinstance(address, IPv4Address | IPv6Address):
        return []
    scheme = "https" if description.startswith(("ssl:", "tls:")) else "http"
    hosts = own_addresses() if address.host in _EVERYWHERE else [_LOOPBACK.get(address.host, address.host)]
    if address.host == "0.0.0.0":
        hosts = [host for host in hosts if ":" not in host]
    return [f"{scheme}://{f'[{host}]' if ':' in host else host}:{address.port}" for host in hosts]


def _decoded(name: object) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def own_addresses() -> list[str]:
    """This machine's addresses in its network, as others see it; ``localhost`` where there is none."""
    found = []
    for family, far in _FAR:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((far, 9))  # finds a way, and sends nothing
                found.append(str(probe.getsockname()[0]))
        except OSError:
            continue
    return found or ["localhost"]
