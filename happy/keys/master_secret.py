"""The master secret: where it comes from, and which files are not trusted.

Without a configured one, a secret is generated once and kept in the file ``master-secret`` of the data
folder. Losing it logs every device out and makes stored vendor tokens unreadable, so a missing file
beside an existing database stops the start instead of being replaced.
"""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.logger import Logger

from happy.base.private_folders import COMMON, make_folder
from happy.settings.declaration import BadSetting
from happy.settings.weak_secrets import WEAK, is_weak

if TYPE_CHECKING:
    from happy.settings.config import Config

FILE_NAME = "master-secret"

_log = Logger()


def settle(config: Config) -> Config:
    """The configuration with its master secret, which is read or made in the data folder if need be.

    Raises :class:`BadSetting` when that file cannot be trusted, read or written.
    """
    if config.master_secret:
        return config
    file = config.data_dir / FILE_NAME
    try:
        made = not file.exists() and _make(file)
        secret = _read(file)
    except OSError as error:
        raise BadSetting(
            f"master-secret: {error.filename or file}: {error.strerror}; "
            "mend that, or set the environment variable HANDY_MASTER_SECRET"
        ) from None
    if made:
        _log.info("made a new master secret in {file}; keep a copy of it in a safe place", file=str(file))
    if is_weak(secret) and not config.allow_weak_secret:
        raise BadSetting(f"master-secret: the content of {file} {WEAK}")
    return replace(config, master_secret=secret)


def kept(config: Config) -> str | None:
    """The master secret that the configuration or the data folder has; None without one. None is made.

    Raises :class:`BadSetting` when the file cannot be trusted or read.
    """
    file = config.data_dir / FILE_NAME
    if config.master_secret:
        return config.master_secret
    try:
        return _read(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadSetting(f"master-secret: {file}: {error.strerror}") from None


def _read(file: Path) -> str:
    with file.open("rb") as opened:
        mode = os.fstat(opened.fileno()).st_mode
        content = opened.read()
    if stat.S_IMODE(mode) & 0o077:
        raise BadSetting(f"master-secret: other users may open {file}; close it with: chmod 600 {file}")
    try:
        secret = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise BadSetting(f"master-secret: {file} is not UTF-8 text") from None
    if not secret or "\0" in secret:
        raise BadSetting(f"master-secret: {file} holds no secret; restore it from your backup")
    return secret


def _make(file: Path) -> bool:
    """Create the file whole or not at all; False if another process was faster."""
    make_folder(file.parent, COMMON)
    if database := next(file.parent.glob("*/PG_VERSION"), None):
        raise BadSetting(
            f"master-secret: {file} is missing, but there is a database in {database.parent}; "
            "restore the file, or set the environment variable HANDY_MASTER_SECRET to the secret used so far"
        )
    draft = file.with_name(f".{FILE_NAME}-{secrets.token_hex(8)}")
    _write(draft, secrets.token_hex(32))
    try:
        os.link(draft, file)  # unlike a rename, this never replaces a file
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    _flush(file.parent)
    return True


def _write(file: Path, content: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(content + "\n")
        opened.flush()
        os.fsync(descriptor)


def _flush(folder: Path) -> None:
    """Make sure that the folder's entries survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
