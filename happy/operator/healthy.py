"""Whether a server of these settings answers: ``python -m happy.operator.healthy``, the container's check.

It asks for ``/health`` where the server listens: at a port, one of TLS, or a UNIX socket. Exits
with 0 if that is answered with 200, else with 1 and a line that says why.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection

from happy.settings.declaration import BadSetting
from happy.settings.endpoints import members
from happy.settings.loading import load

PATIENCE = 4.0
"""Seconds for all of it: the container's own patience is five."""

_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""What an address to listen on stands for that is no address to connect to."""


class _LocalConnection(HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's file."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


def connection_to(description: str) -> HTTPConnection | None:
    """A client of an endpoint; None for one that tells nothing about how to be reached."""
    kind, named = description.partition(":")[0], members(description)
    if kind == "unix":
        return _LocalConnection(named.get("address") or named["port"])
    if kind not in ("tcp", "tcp6", "ssl"):
        return None
    host = named.get("interface", "")
    host, port = _EVERYWHERE.get(host, host), int(named["port"])
    if kind != "ssl":
        return HTTPConnection(host, port, timeout=PATIENCE)
    # Who answers is this machine; whether its certificate pleases others is another question.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return HTTPSConnection(host, port, timeout=PATIENCE, context=context)


def check(environment: Mapping[str, str]) -> str | None:
    """What is wrong with the server of these variables; None if it is well."""
    try:
        listen = load({}, environment).listen
    except BadSetting as bad:
        return str(bad)
    client = next(filter(None, map(connection_to, listen)), None)
    if client is None:
        return None
    with closing(client):
        try:
            client.request("GET", "/health")
            status = client.getresponse().status
        except (OSError, HTTPException) as error:
            return f"no answer: {getattr(error, 'strerror', None) or type(error).__name__}"
    return None if status == 200 else f"it answers {status}"


if __name__ == "__main__":
    wrong = check(os.environ)
    sys.exit(f"happy: {wrong}" if wrong else 0)
