"""Objects as files below a folder of this machine."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from twisted.logger import Logger

from happy.base.private_folders import close_folder, make_folder
from happy.base.threads import PROGRAM, Threads
from happy.outbound.objects import Existing, Removals, UploadForm, attachments

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from happy.base.clocks import Now

_CHUNK = 256 * 1024
_INCOMING = ".incoming"
"""Folder of uploads that are not complete; on the same file system, so that they can be renamed."""
_INTERRUPTED_AFTER = 3600
"""Seconds after which nobody goes on with an upload; younger ones may be another server's, or worker's."""
_NAME = ".store-"
"""What the name of an empty folder begins with that tells this folder from others, whoever shares it."""
_SWEEP_AFTER = 24 * 3600
"""Seconds that a session's folder has been left alone before it is looked at."""
_BATCH = 500
_PATIENCE = 30.0
"""Seconds that the file system may take for one file."""

_COUNTING = 60.0
"""Seconds after which no more files are counted."""

_log = Logger()


class Folder:
    """An object store below ``root``; ``public_base`` is the address of what is below it.

    ``clock`` waits, ``now`` tells the time that files are as old by.
    """

    local = True
    name = ""

    def __init__(
        self, root: Path, public_base: str, threads: Threads, clock: Any, now: Now = time.time
    ) -> None:
        self._root = root
        self._public_base = public_base
        self._threads = threads
        self._now = now
        self._removals = Removals(clock)

    async def start(self) -> None:
        """Make the folder, and clear away uploads that a crash interrupted."""
        self._threads.start()
        self.name = await self._threads.run(self._prepare)

    def _prepare(self) -> str:
        """What the folder is called among others."""
        make_folder(self._root / _INCOMING)
        close_folder(self._root)
        before = self._now() - _INTERRUPTED_AFTER
        for entry in list(_entries(self._root / _INCOMING)):
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime >= before:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)
        if not any(entry.name.startswith(_NAME) for entry in _entries(self._root)):
            make_folder(self._root / f"{_NAME}{secrets.token_hex(8)}")
        return min(entry.name for entry in _entries(self._root) if entry.name.startswith(_NAME))

    async def stop(self) -> None:
        """Wait for what is being written."""
        self._removals.stop()
        await self._threads.stop()

    def public_url(self, path: str) -> str:
        """The address at which this server shows the file."""
        return self._public_base + quote(path)

    async def put(self, path: str, content: BinaryIO, *, owner: str) -> None:
        """Write a file beside its place, and move it there once it is on the disk."""
        await self._threads.within_for(owner, _PATIENCE, self._write, self._place(path), content)

    def _write(self, place: Path, content: BinaryIO) -> None:
        number, name = tempfile.mkstemp(dir=self._root / _INCOMING)
        try:
            with open(number, "wb") as file:
                shutil.copyfileobj(content, file, _CHUNK)
                file.flush()
                os.fsync(number)
            make_folder(place.parent)
            os.replace(name, place)
        except BaseException:
            os.unlink(name)
            raise

    async def file(self, path: str, *, owner: str) -> Path | None:
        """The file, if it exists and is an ordinary one that does not lead out of the folder."""
        return await self._threads.within_for(owner, _PATIENCE, self._find, self._place(path))

    def _find(self, place: Path) -> Path | None:
        try:
            found = place.resolve(strict=True)
        except (OSError, ValueError):
            return None
        return found if found.is_file() and found.is_relative_to(self._root.resolve()) else None

    def upload_form(self, path: str, limit: int) -> UploadForm | None:
        """None: uploads go through this server."""
        return None

    def download_url(self, path: str) -> str | None:
        """None: downloads go through this server."""
        return None

    async def used(self, session: str, *, owner: str) -> int:
        """The bytes of a session's attachments."""
        return await self._threads.within_for(owner, _PATIENCE, _size, self._place(attachments(session)))

    async def total(self) -> int | None:
        """The bytes of all files; None if there are so many that they are not counted in time."""
        return await self._threads.run(_total, self._root)

    def remove_session(self, session: str, *, owner: str) -> Deferred[None]:
        """Remove a session's folder; tries again when that fails."""
        return self._removals.begin(lambda: self._threads.run_for(owner, _remove, self._session(session)))

    async def sweep(self, existing: Existing) -> int:
        """Remove the folders of sessions that do not exist, if they have been left alone for a day.

        When not one of the sessions is known, the database is more likely to be the wrong one, and
        nothing is removed.
        """
        found = await self._threads.run(self._abandoned, self._now() - _SWEEP_AFTER)
        known: set[str] = set()
        for start in range(0, len(found), _BATCH):
            known.update(await existing(found[start : start + _BATCH]))
        orphans = [session for session in found if session not in known]
        if orphans and not known:
            _log.warn("not one of {count} attachment folders has its session; all are kept", count=len(found))
            return 0
        for session in orphans:
            await self.remove_session(session, owner=PROGRAM)
        return len(orphans)

    def _abandoned(self, before: float) -> list[str]:
        """The sessions whose folders did not change since ``before`` (epoch seconds)."""
        return [entry.name for entry in _entries(self._root / "sessions") if _changed(entry) < before]

    def _session(self, session: str) -> Path:
        return self._place(f"sessions/{session}")

    def _place(self, path: str) -> Path:
        """Where the object is. Raises ValueError for a path that is not entirely below the root."""
        parts = path.rstrip("/").split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise ValueError("not the path of an object")
        return self._root.joinpath(*parts)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What is in a folder; nothing if there is no folder."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except FileNotFoundError:
        return


def _size(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in _entries(folder))


def _total(root: Path) -> int | None:
    """The bytes of all files below a folder; folders and files that vanish meanwhile count as nothing."""
    until = time.monotonic() + _COUNTING
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_size
        if time.monotonic() > until:
            return None
    return total


def _changed(entry: os.DirEntry[str]) -> float:
    """The latest change of a session's folder or the one of its attachments (epoch seconds)."""
    times = [entry.stat().st_mtime, *(inner.stat().st_mtime for inner in _entries(Path(entry.path)))]
    return max(times)


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
