"""Why a connection to PostgreSQL was not made, and whether trying again may help."""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 250
"""Characters of a reason."""

_HOPELESS: Final = re.compile(
    "|".join(
        (
            # SQLSTATE 28P01 and 28000, and what poolers say in their place
            r"authentication failed",
            r"authentication method .* not supported",
            r"no password supplied",
            r'role ".*" does not exist',
            r"not permitted to log in",
            r"no pg_hba\.conf entry",
            r"pg_hba\.conf rejects",
            r"no such user",
            r"user not found",
            # 3D000 and 42501
            r'database ".*" does not exist',
            r"no such database",
            r"not currently accepting connections",
            r"permission denied for database",
            r"Permission denied",
            # TLS, but for connections that break in the middle of it
            r"server does not support SSL",
            r"SSL error: (?!unexpected eof)",
            r"certificate",
            r"private key file",
            r"channel binding (is )?required",
            # what the URL itself says
            r"invalid (\w+ )?\w+ value",
            r"invalid port number",
            r'service ".*" not found',
            r"unsupported startup parameter",
            r"unrecognized configuration parameter",
            # what its options say
            r"invalid command-line argument",
            r"invalid value for parameter",
            r'parameter ".*" (cannot be (changed|set)|requires a)',
            r"permission denied to set parameter",
            r"unsupported frontend protocol",
        )
    )
)
_BEGINNING: Final = re.compile(
    r"the database system is|not yet accepting|recovery|too many (clients|connections)|remaining connection"
)
_UNUSUAL_OPTIONS: Final = re.compile(r"unsupported startup parameter.*\boptions\b|startup.*options.*not")


def reason_of(error: Exception) -> str:
    """Of all that libpq says about its attempts, an address each, the line that matters most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next(filter(is_hopeless, lines), lines[0] if lines else "")
    return told if len(told) <= LONGEST else f"{told[:LONGEST]}..."


def is_hopeless(reason: str) -> bool:
    """Whether the same attempt will fail for the same reason until somebody changes something.

    Known by PostgreSQL's and libpq's own words: of an attempt to connect libpq tells no SQLSTATE. A server
    that speaks another language is taken for one that may come up.
    """
    return _HOPELESS.search(reason) is not None


def is_beginning(reason: str) -> bool:
    """Whether a server is there, and says that it is not ready, or full, for the moment."""
    return _BEGINNING.search(reason) is not None


def wants_no_options(reason: str) -> bool:
    """Whether a pooler refuses the settings that a session begins with, as PgBouncer does."""
    return _UNUSUAL_OPTIONS.search(reason) is not None


def advice(reason: str) -> str:
    """What else may be wrong than what the reason says; empty if nothing comes to mind."""
    if "authentication failed" in reason:
        return (
            "; in DATABASE_URL, characters such as % @ / ? # of a password are written as %25 %40 %2F %3F %23"
        )
    return ""
