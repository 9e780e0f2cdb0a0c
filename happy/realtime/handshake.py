"""What a connection presents of itself (realtime.md B.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import UNSET, UnsetType

from happy.api.structs import Body
from happy.realtime.updates import Scope
from happy.socketio.socket import ConnectRefused

NO_TOKEN = "Missing authentication token"
NO_SESSION = "Session ID required for session-scoped clients"
NO_MACHINE = "Machine ID required for machine-scoped clients"
WRONG_TOKEN = "Invalid authentication token"
TOO_MANY = "Too many connections of this account"
REFUSALS = (NO_TOKEN, NO_SESSION, NO_MACHINE, WRONG_TOKEN, TOO_MANY)
"""Why a connection is refused, in the order of the checks."""

LONGEST = 1024
"""Characters of an id or the like; a longer one counts as absent. Real ones have some dozens."""

LONGEST_TOKEN = 16 * 1024
"""Characters of a token; a longer one is none. As much fits a request's head."""

_ABSENT = (None, "", 0)  # and False; what else is no text was meant to be a token, and is a wrong one
_SCOPES = {scope.value: scope for scope in Scope}
_USER = Scope.USER.value


class Credentials(Body):
    """The auth object that well-behaved clients connect with; :class:`AuthObject` makes do with any.

    ``token`` is the bearer token. ``client_type`` says what a connection hears: ``user-scoped`` ones all
    events of the account, the others those of their session or machine, which they name.
    ``happy_client`` tells program and version, as ``ios/1.2.3``. ``app_state`` is ``active`` while the
    owner looks at the client. A client that comes back and wants to go on where it was gives the ``pid``
    that it was told, and the ``offset`` of the last event that it heard.
    """

    token: str
    client_type: Literal["user-scoped", "session-scoped", "machine-scoped"] = "user-scoped"
    session_id: str | UnsetType = UNSET
    machine_id: str | UnsetType = UNSET
    happy_client: str | UnsetType = UNSET
    app_state: str | UnsetType = UNSET
    pid: str | UnsetType = UNSET
    offset: str | UnsetType = UNSET


class AuthObject:
    """The members of the CONNECT auth object that count, type-checked (B.1, D-10).

    What is of a wrong type or too long counts as absent, except for the token, where it counts as invalid.
    """

    __slots__ = ("app_state", "client", "declared", "scope", "subject", "token")

    def __init__(self, auth: Mapping[str, Any], header_client: str | None) -> None:
        self.token = auth.get("token")
        client_type = _text(auth.get("clientType"))
        self.scope = _SCOPES.get(client_type or "", Scope.USER)
        self.declared = client_type == _USER
        self.subject = self._subject(auth)
        self.client = _text(auth.get("happyClient")) or header_client
        self.app_state = _text(auth.get("appState"))

    def _subject(self, auth: Mapping[str, Any]) -> str:
        if self.scope is Scope.USER:
            return ""
        return _text(auth.get("sessionId" if self.scope is Scope.SESSION else "machineId")) or ""

    def check(self) -> str:
        """The token, if the handshake is complete; raises ConnectRefused otherwise."""
        if self.token in _ABSENT:
            raise ConnectRefused(NO_TOKEN)
        if self.scope is Scope.SESSION and not self.subject:
            raise ConnectRefused(NO_SESSION)
        if self.scope is Scope.MACHINE and not self.subject:
            raise ConnectRefused(NO_MACHINE)
        if not isinstance(self.token, str) or len(self.token) > LONGEST_TOKEN:
            raise ConnectRefused(WRONG_TOKEN)
        return self.token

    @property
    def viewing(self) -> bool | None:
        """The initial focus state; None while unknown."""
        return self.app_state == "active" if self.app_state else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST else None
