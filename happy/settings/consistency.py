"""Settings that must fit together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from happy.settings.declaration import BadSetting, Setting

if TYPE_CHECKING:
    from happy.settings.config import Config

EMBEDDED_CONNECTIONS = 30
"""What a pool may take of the embedded PostgreSQL's connections; the rest is for the committer and tools."""


def check(config: Config, known: Mapping[str, Setting]) -> None:
    """Refuse settings that contradict each other or lack their counterpart. Raises :class:`BadSetting`."""
    if not config.database_url and config.database_pool > EMBEDDED_CONNECTIONS:
        raise BadSetting(f"database-pool: the embedded PostgreSQL takes at most {EMBEDDED_CONNECTIONS}")
    if config.bus == "redis":
        _together(config, known, "bus", "redis-url")
    if config.workers > 1 and config.bus == "none":
        raise BadSetting("workers: several hear each other by a bus; remove bus=none")
    if config.db_provider == "postgres" and not config.database_url:
        raise BadSetting(
            "database-url: db-provider asks for a PostgreSQL of your own, but DATABASE_URL is empty or "
            "missing; set it, or remove db-provider to have the embedded database"
        )
    if config.db_provider == "pglite" and config.database_url:
        raise BadSetting(
            "db-provider: pglite stands for the embedded database, but database-url names another one; "
            "remove one of the two"
        )


def _together(config: Config, known: Mapping[str, Setting], given: str, *needed: str) -> None:
    for one in (known[name] for name in needed):
        if not getattr(config, one.field):
            raise BadSetting(
                f"{one.name}: {given} needs it; set the environment variable {one.environment[0]}, "
                f"for example {one.example}"
            )
