"""Takes the place of the system for a server under test; see the package.

``time.time`` differs by the seconds of the first switch. New processes fail as if there were too many while
the second one is on. A file takes a second to find, and another to open, while there is one of its name and
``.slow``, as on a network disk. No name but this machine's is known, so that a test never reaches anybody
else.
"""

from __future__ import annotations

import builtins
import errno
import io
import ipaddress
import mmap
import os
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import Any

_PAGE = struct.Struct("dqq")
_SLOW = 1.0
_HERE = {None, "", b"", "localhost", b"localhost"}

with open(os.environ["HAPPY_TESTS_SWITCHES"], "r+b") as _file:
    _page = mmap.mmap(_file.fileno(), _PAGE.size)


def _shifted(clock: Callable[[], Any], unit: int, kind: type) -> Callable[[], Any]:
    read, page = struct.Struct("d").unpack_from, _page
    return lambda: clock() + kind(read(page)[0] * unit)


def _refusable(start: Callable[..., Any]) -> Callable[..., Any]:
    def begin(*arguments: Any, **options: Any) -> Any:
        ahead, refusing, refused = _PAGE.unpack_from(_page)
        if refusing:
            _PAGE.pack_into(_page, 0, ahead, refusing, refused + 1)
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return start(*arguments, **options)

    return begin


def _slowed(begin: Callable[..., Any], path: Any, *arguments: Any, **options: Any) -> Any:
    if not isinstance(path, int) and os.path.exists(os.fsdecode(path) + ".slow"):
        time.sleep(_SLOW)
    return begin(path, *arguments, **options)


def _is_here(host: Any) -> bool:
    if host in _HERE:
        return True
    try:
        ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host.partition("%")[0])
    except ValueError:
        return False
    return True


def _local(find: Callable[..., Any]) -> Callable[..., Any]:
    def resolve(host: Any, *arguments: Any, **options: Any) -> Any:
        if not _is_here(host):
            raise socket.gaierror(socket.EAI_NONAME, "this server stays on its machine")
        return find(host, *arguments, **options)

    return resolve


time.time = _shifted(time.time, 1, float)
time.time_ns = _shifted(time.time_ns, 10**9, int)
os.fork = _refusable(os.fork)
os.posix_spawn = _refusable(os.posix_spawn)
os.posix_spawnp = _refusable(os.posix_spawnp)
# No functions, which would become methods where a class keeps one of these as an attribute.
os.open = partial(_slowed, os.open)
os.lstat = partial(_slowed, os.lstat)
builtins.open = io.open = partial(_slowed, io.open)
socket.getaddrinfo = _local(socket.getaddrinfo)
