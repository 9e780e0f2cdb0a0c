"""Where the server listens, as Twisted endpoint strings."""

from __future__ import annotations

import re

from twisted.internet.endpoints import serverFromString

BACKLOG = 4096
"""Connections that wait to be accepted: what Linux allows by default."""


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
    try:
        serverFromString(None, plain)  # constructing an endpoint does not use the reactor
    except Exception as error:  # each kind of endpoint has its own parser, and these fail in any way
        raise ValueError(f"be a Twisted endpoint ({type(error).__name__}: {_in_one_line(error)})") from None
    return plain


def with_backlog(description: str) -> str:
    """An endpoint string whose port lets many clients wait that connect at the same moment.

    After a restart all of them do; those who find Twisted's 50 places taken try again only seconds later.
    The system may allow less.
    """
    if re.match(r"(?:tcp6?|ssl|tls|unix):", description) and "backlog=" not in description:
        return f"{description}:backlog={BACKLOG}"
    return description


def _escaped(address: str) -> str:
    return address.replace(":", "\\:")


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
