"""How a backup is restored: all of it, into what is empty."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from happy.backup.archive import DATABASE, FILES, SECRET, Archive, BadBackup, Manifest
from happy.backup.database import counted, holds, load
from happy.backup.places import flush, made_folder, new_file, workshop
from happy.backup.programs import ProgramFailed
from happy.base.private_folders import COMMON, PRIVATE, make_folder
from happy.keys.master_secret import FILE_NAME
from happy.keys.tokens import Keys, fingerprint
from happy.operator.making import made
from happy.operator.saving import check
from happy.operator.trouble import CommandFailed
from happy.storage.ahead import MOVE_ON
from happy.storage.alone import claim, lock_keys
from happy.storage.blocking import BlockingDatabase, finished
from happy.storage.dsn import parse_target

if TYPE_CHECKING:
    from happy.operator.deployment import Deployment
    from happy.operator.progress import Steps
    from happy.settings.config import Config

_WORKSHOP = ".restoring-"
_IGNORED = ("lost+found",)
_CHUNK = 1024 * 1024


def restore(deployment: Deployment, path: Path, steps: Steps) -> Manifest:
    """Restore a backup to where the settings say that the server keeps its data.

    That is a folder that is empty or not there, or an empty database and a folder without files and secret.
    Raises CommandFailed and NotReachable; then all is as before.
    """
    config = deployment.config
    try:
        with ExitStack() as stack:
            named = None
            if config.database_url:
                named = stack.enter_context(deployment.database(migrated=False))
                _hold(named)
            _refuse_a_full_folder(config)
            steps.begin("Checking the backup", path.stat().st_size)
            archive = Archive(path, steps.told)
            _check_secret(config, archive.manifest)
            place = stack.enter_context(_room(config))
            if named is None:
                with made(config, place) as database:
                    _fill(config, database, archive, steps)
            _unpack(archive, place, steps, with_secret=not config.master_secret)
            if named is not None:
                _fill(config, named, archive, steps)
            _put_in_place(place, config.data_dir)
        return archive.manifest
    except (ProgramFailed, BadBackup) as failed:
        raise CommandFailed(f"nothing was restored: {failed}") from None
    except OSError as error:
        where = error.filename or config.data_dir
        raise CommandFailed(f"nothing was restored: {where}: {error.strerror}") from None


def _hold(database: BlockingDatabase) -> None:
    """Have a database alone as long as its session lasts; behind a pooler nobody can tell."""
    target = parse_target(database.dsn)
    if target.pooled:
        return
    user = finished(claim(database.connection, lock_keys(target.schema, None)))  # type: ignore[arg-type]
    if user is not None:
        raise CommandFailed(
            f"nothing was restored: a server uses the database ({user}); stop it, and all other nodes, first"
        )


def _refuse_a_full_folder(config: Config) -> None:
    """What is there may be somebody's only copy."""
    folder = config.data_dir
    there = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    there = {name for name in there if name not in _IGNORED and not name.startswith(_WORKSHOP)}
    if config.database_url:
        there &= {FILE_NAME, "files"}
    if there:
        raise CommandFailed(
            f"nothing was restored: {folder} is not empty, it has {sorted(there)[0]}; "
            "name a new folder with --data-dir"
        )


def _check_secret(config: Config, manifest: Manifest) -> None:
    """A secret that is set for the server is the one that is used, so it must fit."""
    if config.master_secret and manifest.fingerprint is not None:
        set_here = fingerprint(Keys.derive(config.master_secret).public_key)
        if set_here != manifest.fingerprint:
            raise CommandFailed(
                f"nothing was restored: HANDY_MASTER_SECRET is another secret ({set_here}) than that of the "
                f"backup ({manifest.fingerprint}); unset it, or set it to that one"
            )


@contextmanager
def _room(config: Config) -> Iterator[Path]:
    """Where everything is put together, in the data folder; that goes again if it was made for this."""
    folder = config.data_dir
    with made_folder(folder, COMMON), _alone(folder):
        _refuse_a_full_folder(config)  # whoever was faster is ready
        with workshop(folder, _WORKSHOP) as place:
            _give(place, folder)
            yield place


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else restores into the folder meanwhile, and no server starts in it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandFailed(
                f"nothing was restored: a server, or another restore, uses {folder} at present"
            ) from None
        yield
    finally:
        os.close(handle)


def _fill(config: Config, database: BlockingDatabase, archive: Archive, steps: Steps) -> None:
    manifest = archive.manifest
    schemas = {parse_target(database.dsn).schema, manifest.schema}
    if there := holds(database, sorted(schemas)):
        raise CommandFailed(
            f'nothing was restored: the database is not empty, it has "{there}"; name an empty one'
        )
    steps.begin("Restoring the database")
    with closing(archive.open(DATABASE)) as content:
        given = (database, content, manifest.schema, manifest.programs, config.postgres_bin_dir)
        load(*given, then=MOVE_ON)
    check(counted(database), manifest)


def _unpack(archive: Archive, place: Path, steps: Steps, *, with_secret: bool) -> None:
    """Files and secret, as the server would have written them."""
    manifest = archive.manifest
    steps.begin("Restoring files", sum(manifest.members[FILES + name].bytes for name in manifest.files))
    for name in manifest.files:
        target = place / "files" / name
        make_folder(target.parent, PRIVATE)
        _extract(archive, FILES + name, target, steps)
    if with_secret and archive.has(SECRET):
        _extract(archive, SECRET, place / FILE_NAME, steps)


def _extract(archive: Archive, name: str, target: Path, steps: Steps) -> None:
    with closing(archive.open(name)) as content, os.fdopen(new_file(target), "wb") as file:
        while chunk := content.read(_CHUNK):
            file.write(chunk)
            steps.told(len(chunk))
        file.flush()
        os.fsync(file.fileno())


def _put_in_place(place: Path, data_dir: Path) -> None:
    """Move everything up; the secret last, without which no server starts beside a database."""
    for name in ("files", FILE_NAME):
        if (place / name).exists():
            _give_all(place / name, data_dir)
    for name in ("files", "postgres", FILE_NAME):
        if (place / name).exists():
            os.rename(place / name, data_dir / name)
    flush(data_dir)


def _give_all(path: Path, data_dir: Path) -> None:
    _give(path, data_dir)
    for inner in path.rglob("*") if path.is_dir() else ():
        _give(inner, data_dir)


def _give(path: Path, data_dir: Path) -> None:
    """As root, let what is restored belong to the owner of the data folder, as what the server makes does."""
    if os.geteuid() == 0:
        owner = data_dir.stat()
        shutil.chown(path, owner.st_uid, owner.st_gid)
