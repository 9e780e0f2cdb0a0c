"""What the settings of a deployment of the original server mean here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from twisted.logger import Logger

from happy.settings.declaration import BadSetting
from happy.settings.effects import half_set

if TYPE_CHECKING:
    from happy.settings.config import Config

_log = Logger()


def check(config: Config) -> None:
    """Refuse to hide existing data behind an empty database; say which settings have no effect.

    Raises :class:`BadSetting` if there is a PGlite database and no other one is named.
    """
    if not config.database_url and (folder := _pglite(config)):
        raise BadSetting(
            f"pglite-dir: {folder} holds a PGlite database, which only the original server can read; "
            "move its content to PostgreSQL as the README describes and set DATABASE_URL, "
            "or move the folder away to begin with an empty database"
        )
    if config.without_effect:
        _log.warn("Settings without effect here: {names}", names=", ".join(config.without_effect))
    for line in half_set(config):
        _log.warn("{line}", line=line)


def _pglite(config: Config) -> Path | None:
    """The folder with a PGlite database in it, if there is one."""
    folder = config.pglite_dir or config.data_dir / "pglite"
    return folder if (folder / "PG_VERSION").exists() else None
