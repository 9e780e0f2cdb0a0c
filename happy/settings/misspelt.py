"""Variables that were meant as settings, or otherwise than they are."""

from __future__ import annotations

import re
from collections.abc import Mapping

from happy.settings.ambient import links_containers
from happy.settings.config import SETTINGS, SHOWN, UNUSED
from happy.settings.declaration import did_you_mean, in_quotes

_OURS = "HAPPY_"
_CLIENTS = (
    *("AGENT_", "AGY_", "BOOT_", "CLAUDE_", "CODEX_", "DAEMON_", "DISABLE_", "EXPERIMENTAL", "FORK"),
    *("HOME_DIR", "HTTP_MCP_", "PROJECT_", "RECONNECT_", "SERVER_URL", "SIDE_CHAT", "VARIANT", "WEBAPP_URL"),
)
"""How the names of the clients' own variables go on, which a user's shell may have."""

_LINK = re.compile(r"(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
"""How those go on by which Kubernetes and Docker tell of a service whose name begins as this server's."""


def misspelt(environment: Mapping[str, str]) -> list[str]:
    """A line about each variable that is named as if it were this server's, and is none of its settings.

    And about each value in quotation marks, but a secret's, which is what it is.
    """
    known = {variable for one in (*SETTINGS, *UNUSED) for variable in one.environment}
    ours = {name.removeprefix(_OURS) for name in environment.keys() - known if name.startswith(_OURS)}
    meant = {one.field.upper(): one.environment[0] for one in SHOWN}
    meant |= {variable.removeprefix(_OURS): variable for one in SHOWN for variable in one.environment}
    return [
        f"the environment variable {_OURS}{name} is no setting{did_you_mean(name, meant)}"
        for name in sorted(ours)
        if not (name.startswith(_CLIENTS) or _LINK.fullmatch(name))
        and not links_containers(environment[_OURS + name])
    ] + [
        f"the quotation marks around the value of the environment variable {variable} are a part of it"
        for one in SETTINGS
        for variable in one.environment
        if not one.verbatim and in_quotes(environment.get(variable, ""))
    ]
