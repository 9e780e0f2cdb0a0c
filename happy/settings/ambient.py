"""Values that were not meant for this server: others set variables of such names for their own ends."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping

from happy.settings.declaration import Given, Setting, is_ambient

_TRIPLET = re.compile(r"[a-z0-9_]+-[a-z0-9_.]+-(linux|darwin|freebsd|windows|mingw)\S*|[a-z0-9_]+-linux-\w+")
"""A machine type as compilers write it, which conda's activation puts into HOST."""


def ambient(
    settings: Iterable[Setting], environment: Mapping[str, str], given: Mapping[str, Given]
) -> tuple[str, ...]:
    """Names of settings that have no value, since their variable's is not meant for this server."""
    return tuple(
        one.name
        for one in settings
        if one.name not in given
        and any(is_ambient(one, environment.get(variable, "")) for variable in one.environment)
    )


def names_this_machine(text: str) -> bool:
    """Whether a HOST is the machine's name or type, as shells and conda set it for their own ends.

    Whoever names localhost, an address or another name means where to listen.
    """
    own = socket.gethostname().lower()
    name = text.lower()
    return name != "localhost" and (name in (own, own.partition(".")[0]) or bool(_TRIPLET.fullmatch(name)))


def links_containers(text: str) -> bool:
    """Whether a port is given as Kubernetes and Docker do for a service that has the variable's name."""
    return re.fullmatch(r"(tcp|udp|sctp)://\S+", text) is not None
