"""Connection URLs of existing deployments."""

from __future__ import annotations

import pytest

from happy.base.errors import StartupError
from happy.storage.dsn import parse_target


def test_plain_url() -> None:
    """A URL becomes libpq's parameters, decoded."""
    target = parse_target("postgresql://ada:p%40ss@db.example:6432/happy")
    assert target.parameters == {
        "user": "ada",
        "password": "p@ss",
        "host": "db.example",
        "port": "6432",
        "dbname": "happy",
    }
    assert (target.schema, target.limit, target.pooled, target.ignored) == ("public", None, False, ())


def test_parameters_of_the_original_only() -> None:
    """What only the original's database layer knows is translated, or named as ignored."""
    target = parse_target(
        "postgres://h/d?schema=My+Schema&connection_limit=9&pgbouncer=false&pool_timeout=10&socket_timeout=5"
        "&statement_cache_size=0&connect_timeout=7&sslidentity=i.p12&sslpassword=x"
    )
    assert (target.schema, target.limit, target.pooled) == ("My Schema", 9, False)
    assert target.ignored == (
        "pool_timeout",
        "socket_timeout",
        "sslidentity",
        "sslpassword",
        "statement_cache_size",
    )
    assert target.parameters == {"host": "h", "dbname": "d", "connect_timeout": "7"}


def test_a_certificate_without_a_key_is_the_server_s() -> None:
    """``sslcert`` alone is the certificate to check the server against; with a key it is the client's."""
    alone = parse_target("postgresql://h/d?sslmode=require&sslaccept=strict&sslcert=ca.pem").parameters
    assert (alone["sslmode"], alone["sslrootcert"]) == ("verify-full", "ca.pem")
    assert "sslcert" not in alone
    both = parse_target("postgresql://h/d?sslcert=c.pem&sslkey=k.pem").parameters
    assert (both["sslcert"], both["sslkey"]) == ("c.pem", "k.pem")


def test_strict_without_a_certificate_trusts_the_system() -> None:
    """A strict check without a certificate of one's own uses the system's."""
    found = parse_target("postgresql://h/d?sslaccept=strict").parameters
    assert (found["sslmode"], found["sslrootcert"]) == ("verify-full", "system")


def test_socket_folder_with_a_space() -> None:
    """A percent-encoded folder of sockets survives, and a plus sign is one."""
    assert parse_target("postgresql://happy@/postgres?host=/a%20b/c%2b+").parameters["host"] == "/a b/c++"


def test_keywords() -> None:
    """libpq's own keyword form is taken as it is."""
    assert parse_target("host=/run dbname=x").parameters == {"host": "/run", "dbname": "x"}


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://ada:secret@h/d?nonsense=1",
        "postgresql://ada:secret@h:port/d",
        "prisma+postgres://ada:secret@h/d",
        "ada secret",
        "postgresql://ada:secret@[h/d",
        "postgresql://ada:secret@h/d?connection_limit=many",
    ],
)
def test_what_is_refused_is_not_repeated(dsn: str) -> None:
    """A string that is no PostgreSQL URL is refused in one line, without its password."""
    with pytest.raises(StartupError) as refused:
        parse_target(dsn)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_no_schema_through_a_pooler() -> None:
    """A search path does not survive a PgBouncer, so such a URL is refused."""
    assert parse_target("postgresql://h/d?pgbouncer=true&schema=public").pooled
    with pytest.raises(StartupError, match="PgBouncer"):
        parse_target("postgresql://h/d?pgbouncer=true&schema=mine")
