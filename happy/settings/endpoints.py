"""Where the server listens, as Twisted endpoint strings."""

from __future__ import annotations

import os
import re

from twisted.internet.endpoints import serverFromString

from happy.base.certificates import BadCertificate, ServerCertificate

BACKLOG = 4096
"""Connections that wait to be accepted: what Linux allows by default."""

_UNKNOWN = re.compile(r"Unknown endpoint type: '(\w*)'")
_TLS_MEMBERS = frozenset(
    {"port", "interface", "backlog", "privateKey", "certKey", "extraCertChain", "dhParameters"}
)


def tcp(host: str, port: int) -> str:
    """The endpoint string of a TCP address; ``host`` may be an IPv6 address."""
    return f"tcp:{port}:interface={_escaped(host)}"


def endpoint(description: str) -> str:
    """A usable endpoint string; an IPv6 address in it may stand in brackets.

    Certificates that it names are read. Raises ValueError with what it must be.
    """
    plain = re.sub(r"\[([0-9A-Fa-f:.]+)\]", lambda match: _escaped(match[1]), description)
    numbered = re.match(r"(?:tcp6?|ssl|tls):(?:port=)?(-?\d+)", plain)
    if numbered and not 0 <= int(numbered[1]) <= 65535:
        raise ValueError("have a port from 0 to 65535")
    if plain.startswith("ssl:") and numbered:
        _check_tls(plain)
        return plain
    try:
        serverFromString(None, plain)  # constructing an endpoint does not use the reactor
    except Exception as error:  # each kind of endpoint has its own parser, and these fail in any way
        raise ValueError(f"be a Twisted endpoint{_explained(plain, error)}") from None
    return plain


def members(description: str) -> dict[str, str]:
    """The members of an endpoint string by name, the first one as ``port``, without its kind."""
    found = {}
    for part in re.split(r"(?<!\\):", description)[1:]:
        name, equals, value = part.partition("=")
        found[name if equals else "port"] = re.sub(r"\\(.)", r"\1", value if equals else name)
    return found


def with_backlog(description: str) -> str:
    """An endpoint string whose port lets many clients wait that connect at the same moment.

    After a restart all of them do; those who find Twisted's 50 places taken try again only seconds later.
    The system may allow less.
    """
    if re.match(r"(?:tcp6?|ssl|tls|unix):", description) and "backlog=" not in description:
        return f"{description}:backlog={BACKLOG}"
    return description


def _check_tls(plain: str) -> None:
    """Raises ValueError for an endpoint of TLS that cannot be, and for files that it cannot use."""
    named = members(plain)
    if strange := sorted(named.keys() - _TLS_MEMBERS):
        raise ValueError(f"be a Twisted endpoint, and ssl has no {strange[0]!r}")
    if not re.fullmatch(r"\d+", named.get("backlog", "1")):
        raise ValueError("be a Twisted endpoint, with a number as backlog")
    try:
        ServerCertificate.named(named).load()
    except BadCertificate as bad:
        raise ValueError(f"name a certificate and its key: {bad}") from None


def _explained(plain: str, error: Exception) -> str:
    """What is known of why it is none, without the words of Python's own errors."""
    if unknown := _UNKNOWN.search(str(error)):
        return f"; there is no kind {unknown[1]!r}"
    if plain.startswith("systemd:") and "LISTEN_FDS" not in os.environ:
        return "; systemd has passed no socket to this process"
    return ""


def _escaped(address: str) -> str:
    return address.replace(":", "\\:")
