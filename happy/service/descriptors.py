"""How many files and sockets the process may have open at once.

Systems give a process a low limit (1,024 on most) which it may raise up to another one by itself; the low
one is for programs that use select(2), which this one does not.
"""

from __future__ import annotations

import resource

from twisted.logger import Logger

RESERVED = 256
"""Descriptors that clients must leave: the database, files, calls to others, the system's own."""

MANY = 2**20
"""More than this is never needed, and some libraries count through all of them."""

FEW = 4096
"""A limit below this is worth a word."""

_log = Logger()


def raise_limit() -> int:
    """Let the process open as many as the system allows it; how many those are."""
    soft, hard = map(_finite, resource.getrlimit(resource.RLIMIT_NOFILE))
    wanted = min(hard, MANY)
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError) as error:  # a kernel may allow less than it says
            _log.info("The limit of open files stays at {soft}: {reason}", soft=soft, reason=str(error))
    if soft < FEW:
        _log.warn(
            "Only {soft} files may be open, enough for {clients} clients at a time; for more, raise the "
            "limit (ulimit -n, LimitNOFILE=, --ulimit nofile=)",
            soft=soft,
            clients=most_clients(soft),
        )
    return soft


def _finite(limit: int) -> int:
    return MANY if limit == resource.RLIM_INFINITY else limit


def most_clients(limit: int) -> int:
    """How many connections of clients a process may have that may open ``limit`` descriptors."""
    return max(limit - RESERVED, limit // 2)
