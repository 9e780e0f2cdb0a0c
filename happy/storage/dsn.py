"""From the connection URL an operator gives to what libpq understands (schema.md section 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from happy.base.errors import StartupError

_IGNORED = frozenset({"pool_timeout", "socket_timeout", "statement_cache_size", "sslidentity", "sslpassword"})
_TRANSLATED = frozenset({"schema", "connection_limit", "pgbouncer", "sslaccept"})
LIFE_SIGNS = {
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""How a connection over a network finds out within some ten seconds that its other end is not there."""

_EXAMPLE = "postgresql://user:password@host:5432/database"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseTarget:
    """A database to connect to.

    ``parameters`` are libpq's; ``schema`` is the search path; ``limit`` the number of connections the
    URL asks for; ``pooled`` tells that a PgBouncer stands between, so no session settings may be sent;
    ``ignored`` names the parameters of the URL that have no meaning here.
    """

    parameters: Mapping[str, str]
    schema: str = "public"
    limit: int | None = None
    pooled: bool = False
    ignored: tuple[str, ...] = ()

    def conninfo(self, **more: str) -> str:
        """The libpq connection string, with further parameters."""
        conninfo: str = make_dsn(**{**LIFE_SIGNS, **self.parameters, **more})
        return conninfo


def parse_target(dsn: str) -> DatabaseTarget:
    """Read a connection URL or a libpq keyword string.

    Parameters that only the original's database layer knows are translated or ignored. Raises
    StartupError, whose message repeats nothing of the string, since it may hold a password.
    """
    try:
        bare, extra = _split(dsn)
        parameters = parse_dsn(bare)
        _check_port(parameters.get("port", ""))
    except (psycopg2.ProgrammingError, ValueError):
        raise StartupError(f"DATABASE_URL is not a PostgreSQL URL, such as {_EXAMPLE}") from None
    if extra.get("pgbouncer") == "true" and extra.get("schema", "public") != "public":
        raise StartupError("DATABASE_URL: schema cannot be chosen through a PgBouncer; connect directly")
    return DatabaseTarget(
        parameters={**parameters, **_tls(extra)},
        schema=extra.get("schema") or "public",
        limit=_limit(extra.get("connection_limit")),
        pooled=extra.get("pgbouncer") == "true",
        ignored=tuple(sorted(_IGNORED & extra.keys())),
    )


def _split(dsn: str) -> tuple[str, dict[str, str]]:
    """The URL without the parameters that libpq does not know, and those."""
    if "://" not in dsn:
        return dsn, {}
    url = urlsplit(dsn)
    if url.scheme not in ("postgresql", "postgres"):
        raise ValueError(url.scheme)
    parts = {part.partition("=")[0]: part for part in url.query.split("&") if part}
    foreign = _IGNORED | _TRANSLATED | _root_certificate(parts)
    kept = [part for name, part in parts.items() if name not in foreign]
    extra = dict(parse_qsl("&".join(part for name, part in parts.items() if name in foreign)))
    return urlunsplit(url._replace(query="&".join(kept))), extra


def _check_port(port: str) -> None:
    """Raises ValueError; libpq would find out when it connects, and again each time."""
    for part in port.split(",") if port else ():
        int(part or "0")


def _root_certificate(query: Mapping[str, str]) -> frozenset[str]:
    """``sslcert`` means the server's certificate there and the client's here, where a key goes with it."""
    return frozenset() if "sslkey" in query else frozenset({"sslcert"})


def _tls(extra: Mapping[str, str]) -> dict[str, str]:
    found = {}
    if certificate := extra.get("sslcert"):
        found["sslrootcert"] = certificate
    if extra.get("sslaccept") == "strict":
        found["sslmode"] = "verify-full"
        found.setdefault("sslrootcert", "system")
    return found


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise StartupError("connection_limit in DATABASE_URL must be a positive number, such as 6")
    return int(text)
