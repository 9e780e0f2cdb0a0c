"""The nodes of a service besides the server that a command asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from happy.operator.deployment import Deployment

_ELSEWHERE: Final = ("there", "draining")
"""The states of other nodes; this server's own, and its workers', are others."""


def elsewhere(nodes: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The others, of all that a status has."""
    return [node for node in nodes if node["state"] in _ELSEWHERE]


def files_elsewhere(deployment: Deployment) -> list[Mapping[str, Any]]:
    """The others whose uploads are not among the files here, as far as a server that runs here knows."""
    return [node for node in elsewhere(deployment.nodes()) if node.get("filesElsewhere")]


def own(nodes: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What this server, or one of its workers, tells of itself."""
    return next((node for node in nodes if node["state"] not in _ELSEWHERE), {})


def listed(nodes: Sequence[Mapping[str, Any]]) -> str:
    """Their names and hosts: ``n2 at host-b and n3 at host-c``."""
    return " and ".join(
        f"{node['name']} at {node['host']}" if node.get("host") else str(node["name"]) for node in nodes
    )
