"""Connection URLs of existing deployments."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.base.errors import StartupError
from happy.storage.dsn import forget_libpq_environment, parse_target

REFUSED = (
    "DATABASE_URL is not a PostgreSQL URL, such as postgresql://user:password@host:5432/database; in a user "
    "name, a password or a database name, write @ as %40, / as %2F, ? as %3F and # as %23"
)


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
        "&statement_cache_size=0&connect_timeout=7&sslidentity=i.p12"
    )
    assert (target.schema, target.limit, target.pooled) == ("My Schema", 9, False)
    assert target.ignored == (
        "pool_timeout",
        "socket_timeout",
        "sslidentity",
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
        "postgresql://ada:secret@h:port/d",
        "prisma+postgres://ada:secret@h/d",
        "ada secret",
        "postgresql://ada:secret@[h/d",
        "postgresql://ada:secret@h/d?connection_limit=many",
        "postgresql://ada:secret/d",
        "postgresql://ada:a/secret@h/d",
        "postgresql://ada:a#secret@h/d",
        "postgresql://ada:a?secret@h/d",
        "postgresql://ada:1/secret@h/d",
        "postgresql://ada:a@b#secret@h/d",
        "postgresql://ada:a@b?c=secret@h/d?sslmode=require",
        "postgresql://ada:a@b/secret@h/d",
        "postgresql:ada:secret@h/d",
    ],
)
def test_what_is_refused_is_not_repeated(dsn: str) -> None:
    """A string that is no PostgreSQL URL is refused in one line, without its password."""
    with pytest.raises(StartupError) as refused:
        parse_target(dsn)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("password", "meant"),
    [
        ("p@ss@word", "p@ss@word"),
        ("50%off", "50%off"),
        ("a:b:c", "a:b:c"),
        ("a b+c", "a b+c"),
        ("%40%2F%25", "@/%"),
        ("[x]", "[x]"),
        ("ünïcode", "ünïcode"),
        ("", ""),
    ],
)
def test_unescaped_passwords(password: str, meant: str) -> None:
    """What can only be a password is taken as one; the last at sign is the one before the host."""
    parameters = parse_target(f"postgresql://ada:{password}@h:1/d").parameters
    assert (parameters["host"], parameters["port"], parameters.get("password", "")) == ("h", "1", meant)


@pytest.mark.parametrize(
    ("query", "mode"),
    [
        ("sslmode=no-verify", "require"),
        ("sslmode=NO-VERIFY", "require"),
        ("sslmode=verify-full", "verify-full"),
        ("ssl=true", "require"),
        ("ssl=no-verify", "require"),
        ("ssl=false", "disable"),
        ("ssl=true&sslmode=disable", "disable"),
        ("ssl=%7B%22rejectUnauthorized%22:false%7D", None),
        ("", None),
    ],
)
def test_words_for_tls(query: str, mode: str | None) -> None:
    """The words of other drivers are libpq's."""
    assert parse_target(f"postgresql://h/d?{query}").parameters.get("sslmode") == mode


def test_parameters_of_other_drivers() -> None:
    """What nobody here knows is left aside and named, without its value."""
    target = parse_target(
        "postgres://u:p@h:6543/d?supa=base-pooler.x&uselibpqcompat=true&statement_timeout=5&%22secret%22=1"
        "&options=project%3Dx&application_name=a%26b&&host=@abstract&pgbouncer=TRUE"
    )
    assert target.ignored == ("others", "statement_timeout", "supa", "uselibpqcompat")
    assert target.pooled
    assert (target.parameters["options"], target.parameters["application_name"]) == ("project=x", "a&b")
    assert target.parameters["host"] == "@abstract"


def test_several_hosts() -> None:
    """Hosts and ports in a row are libpq's affair."""
    parameters = parse_target("postgresql://u:p@a:1,[::1]:2/d#rest").parameters
    assert (parameters["host"], parameters["port"], parameters["dbname"]) == ("a,::1", "1,2", "d")


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What libpq would read is gone, and nothing else."""
    for name in ("PGPORT", "PGSSLNEGOTIATION", "PGSOMETHINGNEW", "PGLITE_DIR", "PATHS"):
        monkeypatch.setenv(name, "x")
    forget_libpq_environment()
    assert [name for name in os.environ if name.startswith("PG")] == ["PGLITE_DIR"]
    assert os.environ["PATHS"] == "x"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=4))
def test_any_password(password: str) -> None:
    """Whatever the password, it is taken as it is, or no message has a part of it."""
    try:
        parameters = parse_target(f"postgresql://ada:{password}@db.example:1/d").parameters
    except StartupError as refused:
        words = str(refused)
        parts = {password[start : start + 4] for start in range(len(password) - 3)}
        assert words == REFUSED or not [part for part in parts if part in words]
    else:
        assert parameters["host"] == "db.example"
