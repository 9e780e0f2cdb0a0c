"""Stands between the server and a PostgreSQL program for a moment: becomes its process, then is it.

Run as a script with the standard library alone, since an account without rights may not be able to
read anything else. The first argument is a JSON object, the rest the command:

``parent``     process id of the server; when it is gone, nothing is started
``signal``     what the kernel sends when the server dies, where the kernel can do that
``uid, gid``   the account to become, or null
``seem``       user and group id that have a name, for a program that looks up its own and would find none;
               or null
``names``      a library that makes up such names, where the kernel lets nobody seem to be another; or null
``gives_way``  whether others, who need the processor, come before it
``reach``      pairs of folders: the first is one that the account may not enter, the second is one
               inside that it needs; the program gets to see the second, and nothing else of the first
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import sys
from contextlib import suppress
from typing import Any

_NEW_MOUNTS = 0x20000
_NEW_USERS = 0x10000000
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000
_SIGNAL_ON_PARENTS_DEATH = 1
_LEAST = 10
"""A niceness with which work goes on, slowly, on a machine that always has something else to do."""


class Impossible(Exception):
    """What cannot be, in words for the operator."""


def main(options: dict[str, Any], command: list[str]) -> None:
    """Become what ``options`` say, then the program; returns only when the parent is gone.

    Raises Impossible, and OSError.
    """
    # Ctrl-C in a terminal is for the server, which stops PostgreSQL when it is done with it.
    os.setsid()
    os.umask(0o077)
    if options.get("gives_way"):
        give_way()
    if options["reach"]:
        _open_a_way(options["reach"], options["uid"])
    if options["uid"] is not None:
        _become(options["uid"], options["gid"])
    os.chdir("/")
    if seem := options.get("seem"):
        uid, gid = seem
        _get_a_name(uid, gid, options["names"])
    if _dies_with(options["parent"], options["signal"]):
        os.execv(command[0], command)


def give_way() -> None:
    """Take a tenth of what others may of the processor where they need it, this process and its children.

    Linux shares it out among sessions first, where it groups processes by these, so both are asked to.
    """
    os.nice(_LEAST)
    with suppress(OSError):
        _write("/proc/self/autogroup", str(_LEAST))


def _become(uid: int, gid: int) -> None:
    try:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        raise Impossible(
            f"PostgreSQL must not run as root, and this root may not become user id {uid} "
            f"({error.strerror}); start as an ordinary user, or set DATABASE_URL"
        ) from None


def _get_a_name(uid: int, gid: int, library: str | None) -> None:
    """Be found in the list of accounts: as another account in a view of our own, else by a library.

    Files belong to who we are in either case.
    """
    own = os.geteuid(), os.getegid()
    if _may_seem_another(uid, gid):
        _seem_another(uid, gid)
    elif library is not None:
        _make_a_name_up(*own, library)
    else:
        raise Impossible(
            f"user id {own[0]} has no name, and PostgreSQL's initdb wants one; add it to /etc/passwd, or "
            "install libnss-wrapper"
        )


def _may_seem_another(uid: int, gid: int) -> bool:
    """Whether that works, tried by a process of its own: half done it leaves nobody who they are."""
    trial = os.fork()
    if trial == 0:
        try:
            _seem_another(uid, gid)
        except (OSError, AttributeError):
            os._exit(1)
        os._exit(0)
    return os.waitpid(trial, 0)[1] == 0


def _seem_another(uid: int, gid: int) -> None:
    own = os.geteuid(), os.getegid()
    _check(ctypes.CDLL(None, use_errno=True).unshare(_NEW_USERS))
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {own[0]} 1")
    _write("/proc/self/gid_map", f"{gid} {own[1]} 1")


def _make_a_name_up(uid: int, gid: int, library: str) -> None:
    names = {"PASSWD": f"happy:x:{uid}:{gid}::/:/bin/false\n", "GROUP": f"happy:x:{gid}:\n"}
    for kind, line in names.items():
        handle = os.memfd_create(kind, 0)  # which what we become keeps
        os.write(handle, line.encode())
        os.environ[f"NSS_WRAPPER_{kind}"] = f"/proc/self/fd/{handle}"
    os.environ["LD_PRELOAD"] = library


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _dies_with(parent: int, signal: int) -> bool:
    """Ask the kernel for a signal at the parent's death; False when it is dead already.

    Changing the account clears the request, so this comes after.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SIGNAL_ON_PARENTS_DEATH, signal)
    return os.getppid() == parent


def _open_a_way(reach: list[tuple[str, str]], uid: int) -> None:
    """Cover closed folders with empty open ones, in a view of the file system of our own.

    Permissions on disk stay as they are, and no other process sees a difference.
    """
    try:
        _cover(reach)
    except OSError as error:
        raise Impossible(
            f"PostgreSQL runs as user id {uid}, which may not enter {reach[0][0]} ({error.strerror}); "
            "use a folder that everyone may enter, or start as an ordinary user"
        ) from None


def _cover(reach: list[tuple[str, str]]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(_NEW_MOUNTS))
    _keep_to_ourselves(libc)
    handles = [os.open(needed, os.O_RDONLY | os.O_DIRECTORY) for _, needed in reach]
    for closed in sorted({closed for closed, _ in reach}):
        _check(libc.mount(b"tmpfs", os.fsencode(closed), b"tmpfs", 0, b"mode=0755,size=1m"))
    os.umask(0o022)
    for handle, (_, needed) in zip(handles, reach, strict=True):
        os.makedirs(needed, exist_ok=True)
        source = f"/proc/self/fd/{handle}".encode()
        _check(libc.mount(source, os.fsencode(needed), None, _BIND | _RECURSIVE, None))
        os.close(handle)
    os.umask(0o077)


def _keep_to_ourselves(libc: Any) -> None:
    """Let no other process see what is mounted from here on. Raises OSError.

    In a chroot / may be no place where something is mounted (mount(2): EINVAL). The one that it belongs to is
    only to be named from outside, where entering the view once more leads (setns(2)).
    """
    try:
        _check(libc.mount(b"none", b"/", None, _RECURSIVE | _PRIVATE, None))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    else:
        return
    inside = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    view = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    _check(libc.setns(view, _NEW_MOUNTS))
    _check(libc.mount(b"none", b"/", None, _RECURSIVE | _PRIVATE, None))
    os.fchdir(inside)
    os.chroot(".")
    os.close(view)
    os.close(inside)


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]), sys.argv[2:])
    except (OSError, Impossible) as problem:
        sys.exit(f"FATAL:  {problem}")
