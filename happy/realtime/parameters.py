"""What Happy's clients expect of the endpoint, beyond Socket.IO (realtime.md A.1, A.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

from happy.socketio.shared import EndpointSettings

if TYPE_CHECKING:
    from happy.socketio.shared import Headers

PATH: Final = "/v1/updates/"
CLIENT_HEADER: Final = "x-happy-client"
"""Where clients name themselves that cannot say it in their auth object."""

_CORS: Final = ((b"Access-Control-Allow-Origin", b"*"), (b"Access-Control-Allow-Credentials", b"true"))
"""As the original answers. Browsers refuse the two together for requests with credentials, of which Happy's
clients make none."""

_PREFLIGHT: Final = (
    (b"Access-Control-Allow-Methods", b"GET,POST,OPTIONS"),
    (b"Access-Control-Allow-Headers", b"*"),
)
_log: Final = Logger()


def endpoint_settings(**others: Any) -> EndpointSettings:
    """The settings of Happy's endpoint; ``others`` are members of :class:`EndpointSettings` that vary."""
    fixed: dict[str, Any] = {
        "path": PATH,
        "kept_headers": (CLIENT_HEADER,),
        # Whoever looks into the process shall not learn where people are.
        "keep_address": False,
        "headers": _headers,
        "preflight_headers": _PREFLIGHT,
        "handler_failed": _handler_failed,
    }
    return EndpointSettings(**fixed | others)


def _headers(origin: bytes) -> Headers:
    return _CORS


def _handler_failed(what: str, error: Exception) -> None:
    # The text of an exception, and the values in a traceback, may be what a client sent.
    _log.error("The handler of {what} failed: {error}", what=what, error=type(error).__name__)
