"""Where a request comes from, and where its sender reaches us."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from happy.config import Config
    from happy.web.asked import Asked

UNKNOWN = "unknown"


def base_url(request: Asked, config: Config) -> str:
    """The server's address as the client uses it, without a trailing slash (http.md T1).

    Of a forwarded header with several values, the first counts (D20).
    """
    if config.public_url:
        return config.public_url
    host = _first(request, "x-forwarded-host") or _first(request, "host")
    if not host:
        return f"http://localhost:{config.port}"
    scheme = _first(request, "x-forwarded-proto") or ("https" if request.secure() else "http")
    return f"{scheme}://{host}"


def peer_address(request: Asked) -> str:
    """The client's address; only to be counted, never stored or logged.

    What a proxy says is believed only from a peer that is not on the public network, and only the last
    address it added: everything before that is the client's own claim.
    """
    peer = getattr(request.peer(), "host", None)
    if peer is not None and _is_public(peer):
        return str(peer)
    forwarded = (request.last_header("x-forwarded-for") or "").rpartition(",")[2].strip()
    return forwarded or str(peer or UNKNOWN)


def _is_public(address: str) -> bool:
    try:
        return ip_address(address).is_global
    except ValueError:
        return False


def _first(request: Asked, name: str) -> str:
    return (request.header(name) or "").partition(",")[0].strip()
