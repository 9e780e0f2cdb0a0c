"""What is saved before a new version changes the database."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from happy.backup import snapshot
from happy.backup.programs import ProgramFailed, ProgramsMissing
from happy.base.errors import QueryFailed, StartupError

if TYPE_CHECKING:
    from happy.settings.config import Config
    from happy.storage.migrate import Before, Migration

_log = Logger()


def saving_first(config: Config, reactor: Any, dsn: str) -> Before | None:
    """What saves the database in ``<data-dir>/backups``; None if that is not wanted."""
    return partial(_save, config, reactor, dsn) if config.migration_snapshot else None


async def _save(config: Config, reactor: Any, dsn: str, newest: int, missing: Sequence[Migration]) -> None:
    """Raises StartupError: what cannot be saved is not changed."""
    folder, pool = config.data_dir / "backups", reactor.getThreadPool()
    following, programs = missing[0].version, config.postgres_bin_dir
    _log.info("saving the database first, in {folder}", folder=str(folder))
    try:
        path = await deferToThreadPool(reactor, pool, snapshot.save, dsn, folder, newest, following, programs)
    except ProgramsMissing as failed:
        _log.warn("the database could not be saved before its migration: {why}", why=str(failed))
        return
    except OSError as error:
        why = f"{error.filename or folder}: {error.strerror}"
    except (ProgramFailed, QueryFailed) as failed:
        why = str(failed)
    else:
        text = "saved the database in {path}; happyctl restore brings it back"
        _log.info(text, event="snapshot", path=str(path))
        return
    raise StartupError(
        f"the database could not be saved before its migration, and was not changed: {why}; mend that, or "
        "set HAPPY_MIGRATION_SNAPSHOT=false if you have a backup"
    )
