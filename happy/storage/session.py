"""What sessions on PostgreSQL are set to, and how they are told."""

from __future__ import annotations

import re
from collections.abc import Mapping

SESSION = {
    "TimeZone": "UTC",
    # It says so itself before we take it for dead.
    "statement_timeout": "8s",
    "lock_timeout": "4s",
    "idle_in_transaction_session_timeout": "30s",
    # Lists are short pieces of what an index has in order. The planner, which may know only what a table
    # held yesterday, must not take it for cheaper to read and sort everything that there is.
    "random_page_cost": "1.1",
    "enable_bitmapscan": "off",
}

SETTINGS_HOLD = """
SELECT current_setting('random_page_cost') = %s
"""
"""Whether a session has its settings, by the one of them that nobody else makes."""

_BEGINNING = re.compile(r"\s*BEGIN\b[^;]*;?")


def as_options(settings: Mapping[str, str]) -> str:
    """Settings as the option that a session begins with."""
    return " ".join(f"-c {name}={_escaped(value)}" for name, value in settings.items())


def as_statements(settings: Mapping[str, str]) -> str:
    """Settings as statements that make them until the end of a transaction."""
    return "".join(f"SET LOCAL {name} = {_literal(name, value)};" for name, value in settings.items())


def with_settings(settings: str, sql: str, params: object) -> str:
    """A transaction's first statement together with :func:`as_statements`.

    They follow its BEGIN. A statement without one has them in front: what is sent together is a transaction.
    """
    settings = settings.replace("%", "%%") if params else settings
    beginning = _BEGINNING.match(sql)
    if beginning is None:
        return settings + sql
    begin = beginning[0].rstrip(";")
    return f"{begin};{settings}{sql[beginning.end() :]}"


def quoted(identifier: str) -> str:
    """A name as SQL and a search path have it."""
    return '"' + identifier.replace('"', '""') + '"'


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def _literal(name: str, value: str) -> str:
    return value if name == "search_path" else f"'{value}'"
