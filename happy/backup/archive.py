"""The file of a backup: a tar archive whose last member says what must be in it.

=====================  ==============================================================================
member                 content
=====================  ==============================================================================
``happy-backup.json``  first: :class:`Mark`, which says that it is a backup, and of what format
``database.dump``      the database in pg_dump's custom format
``files/...``          attachments and pictures, where they are kept on the disk
``master-secret``      the secret, unless it was left out
``manifest.json``      last: :class:`Manifest`, with a checksum of each member before it
=====================  ==============================================================================

A file that was cut off has no manifest, so nothing that is incomplete is ever taken for a backup.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, Literal

import msgspec
from msgspec import Struct

FORMAT: Final = 1
HEAD: Final = "happy-backup.json"
DATABASE: Final = "database.dump"
SECRET: Final = "master-secret"
MANIFEST: Final = "manifest.json"
FILES: Final = "files/"
ROWS: Final = "rows/"
"""Members that an account's file has instead of a database; each has the rows of one table."""

_CHUNK = 1024 * 1024
_FLUSHED_AT_ONCE = 16 * 1024 * 1024
_LARGEST_DOCUMENT = 256 * 1024 * 1024

Told = Callable[[int], object]
"""Is told how many bytes more were worked on."""


class BadBackup(Exception):
    """A file that is no backup, or not a whole one; the message is one line for the operator."""


class Mark(Struct, rename="camel"):
    """What the first member says; ``created_at`` in epoch milliseconds."""

    format: int
    server: str
    created_at: int
    kind: Literal["server", "account"] = "server"


class Member(Struct):
    """What must be in a member: its size in bytes, and the SHA-256 of it in hexadecimal digits."""

    bytes: int
    sha256: str


class Manifest(Struct, rename="camel", kw_only=True):
    """What a backup holds.

    ``postgres`` is the version of the database it came from, ``programs`` the major version of those that
    dumped it, ``schema`` the schema of its tables, ``migration`` the newest one that it has. ``fingerprint``
    is that of the master secret. ``tables`` has the rows of each table. ``objects`` are the sizes of files
    that stayed in S3, by path. ``account`` is the one whose file it is, if it is not a whole server's.
    """

    format: int = FORMAT
    server: str
    created_at: int
    postgres: str
    programs: int
    schema: str
    migration: int
    fingerprint: str | None
    tables: dict[str, int]
    members: dict[str, Member]
    objects: dict[str, int] | None = None
    account: str | None = None

    @property
    def files(self) -> list[str]:
        """The paths of the files that are in it."""
        return [name.removeprefix(FILES) for name in self.members if name.startswith(FILES)]


class ArchiveWriter:
    """Writes an archive into a file that can be sought in. Raises OSError, as each method does.

    The disk gets it piece by piece: others who write would wait long for all of it at once.
    """

    def __init__(self, file: BinaryIO, mark: Mark, told: Told = lambda _: None) -> None:
        self._file = file
        self._told = told
        self._unsafe = 0
        self.members: dict[str, Member] = {}
        self.add(HEAD, BytesIO(msgspec.json.encode(mark)))

    def add(self, name: str, content: IO[bytes]) -> None:
        """Add a member, of whatever length ``content`` turns out to have."""
        start = self._file.tell()
        self._file.write(_header(name, 0))
        digest, size = hashlib.sha256(), 0
        while chunk := content.read(_CHUNK):
            self._file.write(chunk)
            self._flush_now_and_then(len(chunk))
            digest.update(chunk)
            size += len(chunk)
            self._told(len(chunk))
        self._file.write(bytes(-size % tarfile.BLOCKSIZE))
        end = self._file.tell()
        self._file.seek(start)
        self._file.write(_header(name, size))
        self._file.seek(end)
        self.members[name] = Member(size, digest.hexdigest())

    def _flush_now_and_then(self, size: int) -> None:
        self._unsafe += size
        if self._unsafe >= _FLUSHED_AT_ONCE:
            self._unsafe = 0
            self._file.flush()
            os.fsync(self._file.fileno())

    def finish(self, manifest: Manifest) -> None:
        """Add the manifest, which makes it a backup."""
        self.add(MANIFEST, BytesIO(msgspec.json.encode(manifest)))
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        self._file.flush()


def _header(name: str, size: int) -> bytes:
    """The block, or blocks, before a member: as many whatever the size is, since numbers may be binary."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


class Archive:
    """A backup that was read once from end to end, so that all of its members are known to be whole.

    ``kind`` says whether it must be a server's or an account's. Raises :class:`BadBackup` when they are not,
    and OSError.
    """

    def __init__(
        self, path: Path, told: Told = lambda _: None, kind: Literal["server", "account"] = "server"
    ) -> None:
        self.path = path
        self._kind = kind
        self._places: dict[str, tuple[int, int]] = {}
        with path.open("rb") as file:
            self.manifest = self._read(file, told)

    def _read(self, file: BinaryIO, told: Told) -> Manifest:
        found: dict[str, Member] = {}
        manifest = b""
        for name, entry in _entries(self.path, file):
            if not found and name != HEAD:
                raise BadBackup(f"{self.path} is no backup of this server")
            self._places[name] = entry.offset_data, entry.size
            found[name] = _content(_Part(file, *self._places[name]), told)
            if name in (HEAD, MANIFEST):
                manifest = self._document(file, name)
            if name == HEAD:
                self._check_mark(_decoded(manifest, Mark, self.path))
            if name == MANIFEST:
                return self._compare(found, _decoded(manifest, Manifest, self.path))
        raise BadBackup(f"{self.path} was cut off: it ends before its list of contents")

    def _document(self, file: BinaryIO, name: str) -> bytes:
        if self._places[name][1] > _LARGEST_DOCUMENT:
            raise BadBackup(f"{self.path} is damaged: {name} is too large")
        return _Part(file, *self._places[name]).read()

    def _compare(self, found: Mapping[str, Member], manifest: Manifest) -> Manifest:
        del self._places[MANIFEST]
        kept = {name: content for name, content in found.items() if name != MANIFEST}
        if wrong := sorted(
            name for name in kept.keys() | manifest.members if kept.get(name) != manifest.members.get(name)
        ):
            raise BadBackup(f"{self.path} is damaged: {wrong[0]} is not what was written")
        if (DATABASE if self._kind == "server" else f"{ROWS}Account") not in kept:
            raise BadBackup(f"{self.path} is damaged: it has no database")
        return manifest

    def _check_mark(self, mark: Mark) -> None:
        if mark.format > FORMAT:
            raise BadBackup(f"{self.path} was made by version {mark.server} of this server; use that one")
        if mark.kind == self._kind:
            return
        if mark.kind == "account":
            raise BadBackup(f"{self.path} is one account; bring it in with happyctl accounts import")
        raise BadBackup(f"{self.path} is a whole server; bring it back with happyctl restore")

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self._places

    def open(self, name: str) -> IO[bytes]:
        """A member, to be read; the caller closes it."""
        file = self.path.open("rb")
        return _Part(file, *self._places[name], closing=True)


class _Part(BytesIO):
    """A stretch of a file, read as if it were one."""

    def __init__(self, file: BinaryIO, start: int, size: int, *, closing: bool = False) -> None:
        super().__init__()
        self._file = file
        self._at = start
        self._left = size
        self._closing = closing

    def read(self, size: int | None = -1) -> bytes:
        """As of any file."""
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        self._file.seek(self._at)
        found = self._file.read(wanted)
        self._at += len(found)
        self._left -= len(found)
        return found

    def close(self) -> None:
        """Let go of the file, if it was opened for this."""
        if self._closing:
            self._file.close()
        super().close()


def _entries(path: Path, file: BinaryIO) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Each member by its name, which leads nowhere else. Raises BadBackup."""
    end = file.seek(0, 2)
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for entry in archive:
                if not entry.isfile() or not _proper(entry.name):
                    raise BadBackup(f"{path} is no backup of this server: it has other things in it")
                if entry.offset_data + entry.size > end:
                    raise BadBackup(f"{path} was cut off within {entry.name}")
                yield entry.name, entry
    except tarfile.TarError:
        raise BadBackup(f"{path} is no backup of this server, or was cut off") from None


def _proper(name: str) -> bool:
    if name in (HEAD, DATABASE, SECRET, MANIFEST):
        return True
    parts = name.split("/")
    return name.startswith((FILES, ROWS)) and all(
        part not in ("", ".", "..") and "\0" not in part for part in parts
    )


def _content(part: IO[bytes], told: Told) -> Member:
    digest, size = hashlib.sha256(), 0
    while chunk := part.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
        told(len(chunk))
    return Member(size, digest.hexdigest())


def _decoded(document: bytes, kind: type[Any], path: Path) -> Any:
    try:
        return msgspec.json.decode(document, type=kind)
    except msgspec.DecodeError:
        raise BadBackup(f"{path} is no backup of this server, or is damaged") from None
