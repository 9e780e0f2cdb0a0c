"""Folders that settings name, as a start finds them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.logger import Logger

from happy.settings.declaration import BadSetting

if TYPE_CHECKING:
    from happy.settings.config import Config

_log = Logger()


def check_data(config: Config) -> None:
    """Raises BadSetting for a data folder that is none, or may not be used by who we are."""
    if config.database_url and config.s3_host and config.master_secret:
        return  # Nothing is kept in it.
    folder = config.data_dir
    try:
        usable = not folder.exists() or os.access(folder, os.R_OK | os.W_OK | os.X_OK)
    except PermissionError:
        usable = False
    # Not as Path asks, which raises where somebody may not look.
    if not usable and os.path.isfile(folder):
        raise BadSetting(f"data-dir: {folder} is a file; move it away, or name a folder")
    if not usable:
        uid = os.geteuid()
        raise BadSetting(
            f"data-dir: user id {uid} may not use {folder}; start as its owner, or give it to this user: "
            f"chown -R {uid} {folder}"
        )


def hold_data(config: Config) -> Callable[[], None]:
    """Let nobody restore a backup into the data folder until what is answered is called.

    A folder that is not there yet is nobody's, and a file system without locks has none. Raises BadSetting
    while a backup is being restored into it.
    """
    try:
        handle = os.open(config.data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return lambda: None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise BadSetting(
            f"data-dir: a backup is being restored into {config.data_dir}; start when that is done"
        ) from None
    except OSError:
        pass  # it cannot be locked
    return lambda: os.close(handle)


def check_webapp(config: Config) -> None:
    """Raises BadSetting for a web app that is no folder; one without a page is told, since it may come."""
    folder = config.webapp
    if folder is None:
        return
    try:
        found = folder.is_dir()
        page = found and (folder / "index.html").is_file()
    except OSError as error:
        raise BadSetting(f"webapp: {folder} cannot be read: {error.strerror}") from None
    if not found:
        raise BadSetting(f"webapp: {folder} is no folder; build the web app there, or leave the setting out")
    if not page:
        _log.warn("webapp: there is no index.html in {folder} yet", folder=str(folder))
