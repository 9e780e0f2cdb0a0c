"""Why connections are refused, and which refusals end a start at once."""

from __future__ import annotations

import pytest

from happy.storage.refusals import LONGEST, advice, is_beginning, is_hopeless, reason_of, wants_no_options

AT = 'connection to server at "db" (192.0.2.1), port 5432 failed: '

HOPELESS = [
    'FATAL:  password authentication failed for user "happy"',
    'FATAL:  Peer authentication failed for user "happy"',
    'FATAL:  role "happy" does not exist',
    'FATAL:  role "happy" is not permitted to log in',
    'FATAL:  no pg_hba.conf entry for host "192.0.2.9", user "happy", database "happy", no encryption',
    'FATAL:  database "nothere" does not exist',
    'FATAL:  permission denied for database "happy"',
    "FATAL:  no such database: nothere",
    "FATAL:  Tenant or user not found",
    "FATAL:  SASL authentication failed",
    "server does not support SSL, but SSL was required",
    "SSL error: certificate verify failed",
    "SSL error: tlsv1 alert protocol version",
    'server certificate for "a" does not match host name "b"',
    'root certificate file "/nope" does not exist',
    "fe_sendauth: no password supplied",
    'invalid sslmode value: "xyz"',
    'invalid port number: "99999"',
    'definition of service "abc" not found',
    'FATAL:  unrecognized configuration parameter "search_pth"',
    "FATAL:  invalid command-line argument for server process: endpoint=abc",
    'FATAL:  invalid value for parameter "TimeZone": "Nowhere"',
    'FATAL:  parameter "work_mem" requires a numeric value',
    'FATAL:  parameter "max_connections" cannot be changed without restarting the server',
    'FATAL:  permission denied to set parameter "log_statement"',
    "Permission denied",
]

PASSING = [
    "Connection refused",
    "No such file or directory",
    "timeout expired",
    "server closed the connection unexpectedly",
    "SSL error: unexpected eof while reading",
    "SSL SYSCALL error: Connection reset by peer",
    "FATAL:  the database system is starting up",
    "FATAL:  the database system is not yet accepting connections",
    "FATAL:  sorry, too many clients already",
    "FATAL:  server login failed: the server is down, try later",
    "could not translate host name",
    "",
]


@pytest.mark.parametrize("words", HOPELESS)
def test_hopeless(words: str) -> None:
    """What somebody has to change something for."""
    assert is_hopeless(words)
    assert is_hopeless(AT + words)


@pytest.mark.parametrize("words", PASSING)
def test_passing(words: str) -> None:
    """What may be over in a moment, or says nothing."""
    assert not is_hopeless(AT + words)


def test_a_server_that_begins() -> None:
    """It is there, and says so."""
    assert [is_beginning(words) for words in PASSING].count(True) == 3
    assert not any(map(is_beginning, HOPELESS))


def test_the_line_that_matters() -> None:
    """A refusal goes before an address where nobody listens; else the first line is told."""
    refused = f"{AT}Connection refused\n\tIs the server running on that host?\n"
    assert reason_of(Exception(refused + AT + HOPELESS[0])) == AT + HOPELESS[0]
    assert reason_of(Exception(refused)) == f"{AT}Connection refused"
    assert reason_of(Exception("")) == ""
    assert len(reason_of(Exception("x" * 9999))) == LONGEST + 3


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("FATAL:  unsupported startup parameter: options", True),
        ("FATAL:  unsupported startup parameter in options: search_path", True),
        ("FATAL:  unsupported startup parameter: extra_float_digits", False),
        (HOPELESS[0], False),
    ],
)
def test_poolers(words: str, wanted: bool) -> None:
    """PgBouncer's words, of several versions."""
    assert wants_no_options(words) is wanted


def test_advice() -> None:
    """A password that is wrong may be one that is not encoded."""
    assert "%25" in advice(HOPELESS[0])
    assert advice(HOPELESS[5]) == ""
