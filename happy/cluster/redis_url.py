"""The address of a Redis, as operators write it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from OpenSSL.crypto import Error as TLSError
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates

PORT: Final = 6379
EXAMPLE: Final = "redis://user:password@host:6379/0"

_LONGEST_PATH: Final = 103
"""Bytes that every system has for the path of a socket."""

_CONNECT_SECONDS: Final = 5.0
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTarget:
    """A Redis to connect to, by host and port or by the ``path`` of its socket.

    ``authorities`` is a file of certificates in PEM form that are trusted instead of the system's. What it
    is printed as holds no secret.
    """

    host: str = ""
    port: int = PORT
    path: str = ""
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    database: int = 0
    tls: bool = False
    authorities: Path | None = None

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}"

    def endpoint(self, reactor: Any) -> IStreamClientEndpoint:
        """What connects to it. Raises ValueError where there can be no certificate."""
        if self.path:
            return UNIXClientEndpoint(reactor, self.path, timeout=_CONNECT_SECONDS)
        # Of several addresses the next one is tried soon; only then a refusal is told as well.
        plain = HostnameEndpoint(reactor, self.host, self.port, _CONNECT_SECONDS, attemptDelay=0.1)
        if not self.tls:
            return plain
        trusted = {"trustRoot": _trusted(self.authorities)} if self.authorities else {}
        try:
            expected = optionsForClientTLS(self.host, **trusted)
        except ValueError:
            raise ValueError(f"name a host that a certificate can be for: {self.host}") from None
        return wrapClientTLS(expected, plain)


def parse_redis(url: str) -> RedisTarget:
    """Read ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user, password and database.

    User and password may hold what a URL should have encoded. ``ssl_ca_certs`` in the query names a file of
    trusted certificates; parameters that have no meaning here are ignored. Raises ValueError, whose text
    follows the word "must" and repeats nothing of the URL.
    """
    try:
        parts = urlsplit(_with_the_user_encoded(url))
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        place = _PLACES[parts.scheme](parts, query)
        database = int(place.pop("database") or 0)
    except (KeyError, ValueError):
        raise ValueError(f"be a URL such as {EXAMPLE}, rediss://host or unix:///path/to/socket") from None
    if database < 0:
        raise ValueError("have a database of 0 or more")
    return RedisTarget(
        **place,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        database=database,
    )


def _with_the_user_encoded(url: str) -> str:
    """The URL, in which a ``#``, ``/`` or ``?`` of the password no longer ends the host's part."""
    parts = urlsplit(url)
    if parts.scheme == "unix" or "@" not in f"{parts.path}{parts.query}{parts.fragment}":
        return url
    scheme, _, rest = url.partition("://")
    user, _, place = rest.rpartition("@")
    encoded = ":".join(quote(unquote(part), safe="") for part in user.split(":", 1))
    return f"{scheme}://{encoded}@{place}"


def _over_network(parts: SplitResult, query: dict[str, str]) -> dict[str, Any]:
    if not parts.hostname or parts.port == 0:
        raise ValueError("host")
    authorities = query.get("ssl_ca_certs")
    return {
        "host": parts.hostname,
        "port": parts.port or PORT,
        "tls": parts.scheme == "rediss",
        "authorities": Path(authorities) if authorities else None,
        "database": parts.path.removeprefix("/") or query.get("db"),
    }


def _over_socket(parts: SplitResult, query: dict[str, str]) -> dict[str, Any]:
    path = unquote(parts.path)
    if not path.startswith("/") or parts.hostname or len(path.encode()) > _LONGEST_PATH:
        raise ValueError("path")
    return {"path": path, "database": query.get("db")}


_PLACES: Final = {"redis": _over_network, "rediss": _over_network, "unix": _over_socket}


def _trusted(file: Path) -> Any:
    try:
        text = file.read_bytes()
    except OSError as error:
        raise ValueError(f"name a file of certificates: {file}: {error.strerror}") from None
    try:
        found = [Certificate.loadPEM(_BEGIN + one) for one in text.split(_BEGIN)[1:]]
    except TLSError:
        raise ValueError(f"name a file of certificates: one in {file} is damaged") from None
    if not found:
        raise ValueError(f"name a file of certificates: {file} has none")
    return trustRootFromCertificates(found)
