"""From the connection URL an operator gives to what libpq understands (schema.md section 9)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote, unquote, unquote_plus

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from happy.base.errors import StartupError

_TRANSLATED = frozenset({"schema", "connection_limit", "pgbouncer", "ssl", "sslaccept", "sslmode"})
_SSL = {
    "no-verify": "require",
    **dict.fromkeys(("true", "1", "on", "yes"), "require"),
    **dict.fromkeys(("false", "0", "off", "no"), "disable"),
}
"""What the original's drivers call the modes of libpq: of them ``no-verify`` is TLS with any certificate."""

LIFE_SIGNS = {
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""How a connection over a network finds out within some ten seconds that its other end is not there."""

_EXAMPLE = "postgresql://user:password@host:5432/database"
_ENCODE = "in a user name, a password or a database name, write @ as %40, / as %2F, ? as %3F and # as %23"
_URL = re.compile(r"(postgres(?:ql)?)://([^/?#]*)(/[^?#]*)?(?:\?([^#]*))?(#.*)?", re.DOTALL)
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,40}")


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

    Parameters of other drivers are translated or ignored. Raises StartupError, whose message repeats nothing
    of the string, since it may hold a password.
    """
    try:
        bare, extra, foreign = _split(dsn)
        parameters = parse_dsn(bare)
        _check_port(parameters.get("port", ""))
    except (psycopg2.ProgrammingError, ValueError):
        raise StartupError(f"DATABASE_URL is not a PostgreSQL URL, such as {_EXAMPLE}; {_ENCODE}") from None
    return DatabaseTarget(
        parameters={**parameters, **_tls(extra)},
        schema=extra.get("schema") or "public",
        limit=_limit(extra.get("connection_limit")),
        pooled=extra.get("pgbouncer", "").lower() in ("true", "1"),
        ignored=tuple(sorted(name if _PLAIN_NAME.fullmatch(name) else "others" for name in foreign)),
    )


def forget_libpq_environment() -> None:
    """Take what libpq reads of the environment away from all connections that this process makes.

    For one whose address is its own affair: each parameter that nobody gives comes from a variable, and what
    a shell says about other databases is not meant.
    """
    for name in [name for name in os.environ if name.startswith("PG") and not name.startswith("PGLITE_")]:
        del os.environ[name]


def _split(dsn: str) -> tuple[str, dict[str, str], set[str]]:
    """The URL as libpq reads it, the parameters that are translated, and names that nobody here knows.

    Raises ValueError.
    """
    if "://" not in dsn:
        return dsn, {}, set()
    if (found := _URL.fullmatch(dsn)) is None:
        raise ValueError("no URL of PostgreSQL")
    scheme, authority, path, query, fragment = found.groups("")
    parts = {part.partition("=")[0]: part for part in query.split("&") if part}
    _check_ends(path, parts.values(), fragment)
    translated = _TRANSLATED | _root_certificate(parts)
    foreign = {name for name in parts if name not in translated and not _known(name)}
    kept = [part for name, part in parts.items() if name not in foreign | translated]
    extra = {name: unquote_plus(part.partition("=")[2]) for name, part in parts.items() if name in translated}
    bare = f"{scheme}://{_authority(authority)}{_encoded(path, safe='/')}?{'&'.join(kept)}"
    return bare, extra, foreign


def _check_ends(path: str, parts: Iterable[str], fragment: str) -> None:
    """Raises ValueError for an at sign after the host's end: a password with a / or the like ends it early.

    What follows would be taken for the host, and told in messages.
    """
    after = [path, fragment, *(part for part in parts if not re.match(r"(host|user|password)=[^/]*$", part))]
    if any("@" in part for part in after):
        raise ValueError("an at sign behind the host")


def _authority(text: str) -> str:
    """User, password and hosts, encoded as libpq wants them: the last at sign is the one before the hosts."""
    user, at, hosts = text.rpartition("@")
    name, colon, password = user.partition(":")
    return f"{_encoded(name)}{colon}{_encoded(password)}{at}{hosts}"


def _encoded(text: str, safe: str = "") -> str:
    """A part of a URL with whatever stands in it unencoded, a % that encodes nothing among it."""
    return quote(unquote(text, errors="surrogateescape"), safe=safe, errors="surrogateescape")


@cache
def _known(name: str) -> bool:
    """Whether libpq has a parameter of this name."""
    try:
        parse_dsn(f"postgresql:///?{name}=1")
    except psycopg2.ProgrammingError:
        return False
    return True


def _check_port(port: str) -> None:
    """Raises ValueError; libpq would find out when it connects, and again each time."""
    for part in port.split(",") if port else ():
        int(part or "0")


def _root_certificate(query: Mapping[str, str]) -> frozenset[str]:
    """``sslcert`` means the server's certificate there and the client's here, where a key goes with it."""
    return frozenset() if "sslkey" in query else frozenset({"sslcert"})


def _tls(extra: Mapping[str, str]) -> dict[str, str]:
    found = {}
    mode = (extra.get("sslmode") or extra.get("ssl") or "").lower()
    if "sslmode" in extra or mode in _SSL:
        found["sslmode"] = _SSL.get(mode, mode)
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
