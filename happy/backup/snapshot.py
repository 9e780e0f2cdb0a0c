"""The database as it was before migrations, for the way back to an earlier version."""

from __future__ import annotations

import os
import time
from pathlib import Path

import happy
from happy.backup.archive import DATABASE, ArchiveWriter, Manifest, Mark
from happy.backup.database import dump
from happy.backup.places import flush, new_file, workshop
from happy.base.private_folders import PRIVATE, make_folder
from happy.storage.blocking import opened
from happy.storage.dsn import parse_target

KEPT = 3
_WORKSHOP = ".snapshot-"


def save(dsn: str, folder: Path, newest: int, following: int, bin_dir: Path | None = None) -> Path:
    """Save the database, which has the migration ``newest``, as ``before-NNNN.tar`` in ``folder``; its path.

    NNNN is the migration ``following``. It is a backup without files and secret. The latest three are kept.
    Raises OSError, ProgramFailed, ConnectionLost and QueryFailed.
    """
    make_folder(folder, PRIVATE)
    with workshop(folder, _WORKSHOP) as place, opened(dsn, "happy") as database:
        draft, created = place / "snapshot.tar", int(time.time() * 1000)
        with os.fdopen(new_file(draft), "r+b") as file:
            writer = ArchiveWriter(file, Mark(1, happy.__version__, created))
            dumped = dump(database, lambda content: writer.add(DATABASE, content), bin_dir)
            manifest = Manifest(
                server=happy.__version__,
                created_at=created,
                postgres=dumped.postgres,
                programs=dumped.programs,
                schema=parse_target(dsn).schema,
                migration=newest,
                fingerprint=None,
                tables=dict(dumped.tables),
                members=dict(writer.members),
            )
            writer.finish(manifest)
            os.fsync(file.fileno())
        path = folder / f"before-{following:04}.tar"
        os.replace(draft, path)
        flush(folder)
    _thin_out(folder)
    return path


def _thin_out(folder: Path) -> None:
    for path in sorted(folder.glob("before-*.tar"))[:-KEPT]:
        path.unlink(missing_ok=True)
