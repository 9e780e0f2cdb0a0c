"""The files of a server whose store is a folder of this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from happy.settings.config import Config


class Held(NamedTuple):
    """A number of files, and their bytes."""

    files: int = 0
    bytes: int = 0

    def __add__(self, other: object) -> Held:
        """Both together."""
        assert isinstance(other, Held)
        return Held(self.files + other.files, self.bytes + other.bytes)


def root(config: Config) -> Path | None:
    """Where the files are; None where they are in a bucket."""
    return None if config.s3_host else config.data_dir / "files"


def by_session(config: Config) -> dict[str, Held]:
    """What each session has of attachments."""
    folder = root(config)
    if folder is None:
        return {}
    return {entry.name: held(Path(entry.path)) for entry in _entries(folder / "sessions")}


def held(folder: Path | None) -> Held:
    """What is below a folder; what is not there, or vanishes meanwhile, counts as nothing."""
    found = Held()
    if folder is None:
        return found
    for inner, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                found += Held(1, os.lstat(os.path.join(inner, name)).st_size)
    return found


def of_session(config: Config, session: str) -> Path | None:
    """The folder of a session's attachments."""
    folder = root(config)
    return None if folder is None else folder / "sessions" / session


def remove_below(config: Config, prefix: str) -> Held:
    """Remove what is below a path that ends with a slash, here or in the bucket; what that was.

    Raises OSError, or StartupError for a bucket that cannot be used.
    """
    if config.s3_host:
        from happy.outbound import s3

        sizes = s3.sizes(config, prefix)
        s3.remove(config, prefix)
        return Held(len(sizes), sum(sizes.values()))
    folder = config.data_dir / "files" / prefix
    found = held(folder)
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)
    return found


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        yield from entries
