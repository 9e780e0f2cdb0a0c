"""The account PostgreSQL runs as, which must not be root, and what that account can reach."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from happy.base.errors import StartupError

NAME = "happy-postgres"
"""An account of this name is used when there is one; none is ever created."""

_FIRST_FREE = 59155
_WRAPPERS = ("usr/lib/*/libnss_wrapper.so*", "usr/lib64/libnss_wrapper.so*", "usr/lib/libnss_wrapper.so*")
_HELPERS = ("nobody", "daemon", "bin")


@dataclass(frozen=True, slots=True)
class Account:
    """A user and group to run as. ``named`` tells whether the system's list of accounts has it."""

    uid: int
    gid: int
    named: bool = True


def account_for(folder: Path) -> Account | None:
    """Who runs PostgreSQL on a data directory: None for ourselves, when we are not root.

    As root: the owner of the directory, else the account NAME, else a number that nobody has.
    Raises StartupError for a directory that is someone else's, when we are not root.
    """
    owner = _owner(folder)
    if os.geteuid() != 0:
        if owner is not None and owner.uid != os.geteuid():
            raise StartupError(
                f"the database in {folder} belongs to user id {owner.uid}, with which it was made as root; "
                f"start as root again, or give it to this user: chown -R {os.geteuid()} {folder}"
            )
        return None
    if owner is not None and owner.uid != 0:
        return owner
    return _dedicated()


def helper() -> Account:
    """An account without rights that has a name, for initdb, which looks its own up.

    Raises StartupError where there is none.
    """
    for name in _HELPERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise StartupError(f"PostgreSQL must not run as root: create an account named {NAME}")


def stand_in() -> Account | None:
    """Whom initdb may take itself for when we are not root and have no name, as in many containers."""
    return None if os.geteuid() == 0 or _is_named(os.geteuid()) else helper()


def names_library() -> str | None:
    """The library nss_wrapper, which makes up names of accounts for a program."""
    return next((str(file) for pattern in _WRAPPERS for file in sorted(Path("/").glob(pattern))), None)


def give(folder: Path, account: Account) -> None:
    """Make the account the owner of a folder and of everything in it."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(os.path.join(parent, name), account.uid, account.gid, follow_symlinks=False)
    os.chown(folder, account.uid, account.gid, follow_symlinks=False)


def belongs_to_root(folder: Path) -> bool:
    """Whether somebody has given a data directory to root, for whom PostgreSQL does not run."""
    return (owner := _owner(folder)) is not None and owner.uid == 0


def ownership_advice(reason: str, folder: Path) -> str:
    """What to do about files that belong to somebody else; empty if that is not what is wrong."""
    if "wrong ownership" not in reason and "Permission denied" not in reason:
        return ""
    owner = _owner(folder)
    uid = os.geteuid() or (owner.uid if owner else "USER")
    return f"; everything in it must belong to one user: chown -R {uid} {folder}"


def closed_folders(path: Path, account: Account) -> tuple[Path, Path] | None:
    """The topmost folder on the way to ``path`` that the account may not enter, and what it needs inside.

    The second is the first folder past the last closed one. None when the way is open.
    """
    way = [*reversed(path.parents), path]
    shut = [position for position, folder in enumerate(way[:-1]) if not _may_enter(folder, account)]
    return (way[shut[0]], way[shut[-1] + 1]) if shut else None


def _may_enter(folder: Path, account: Account) -> bool:
    found = folder.stat()
    if found.st_uid == account.uid:
        return bool(found.st_mode & 0o100)
    if found.st_gid == account.gid:
        return bool(found.st_mode & 0o010)
    return bool(found.st_mode & 0o001)


def _owner(folder: Path) -> Account | None:
    try:
        found = folder.stat()
    except FileNotFoundError:
        return None
    return Account(found.st_uid, found.st_gid, named=_is_named(found.st_uid))


def _dedicated() -> Account:
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        taken = {entry.pw_uid for entry in pwd.getpwall()}
        uid = next(uid for uid in range(_FIRST_FREE, _FIRST_FREE + 1000) if uid not in taken)
        return Account(uid, uid, named=False)
    return Account(entry.pw_uid, entry.pw_gid)


def _is_named(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
