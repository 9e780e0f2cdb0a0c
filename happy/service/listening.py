"""ListeningEndpoints that clients connect to."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from twisted.internet.endpoints import SSL4ServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from happy.base.certificates import BadCertificate, ServerCertificate
from happy.base.errors import StartupError
from happy.settings.endpoints import members, with_backlog

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint

_ADVICE = {
    errno.EADDRINUSE: "; another program listens there, perhaps a server that still runs",
    errno.EACCES: "; an ordinary user may not, without help of the system",
    errno.EADDRNOTAVAIL: "; this machine has no such address",
}


class ListeningEndpoints:
    """Where one server listens, and what its ports of TLS show."""

    _log = Logger()

    def __init__(self) -> None:
        self._certificates: list[ServerCertificate] = []

    async def listen(self, description: str, factory: Any, reactor: Any) -> IListeningPort:
        """The port of an endpoint string. Raises StartupError."""
        try:
            port: IListeningPort = await self._endpoint(with_backlog(description), reactor).listen(factory)
        except CannotListenError as error:
            raise StartupError(f"cannot listen on {description}: {why(error.socketError)}") from None
        except OSError as error:  # what Twisted meets beside a UNIX socket
            raise StartupError(f"cannot listen on {description}: {why(error)}") from None
        except BadCertificate as bad:
            raise StartupError(f"cannot listen on {description}: {bad}") from None
        return port

    def reload(self) -> None:
        """Read certificates anew; what cannot be used is told, and the former go on being shown."""
        for one in self._certificates:
            try:
                one.load()
            except BadCertificate as bad:
                self._log.error("The new certificate is not used: {reason}", reason=str(bad))

    def _endpoint(self, description: str, reactor: Any) -> IStreamServerEndpoint:
        if not description.startswith("ssl:"):
            found: IStreamServerEndpoint = serverFromString(reactor, description)
            return found
        # Twisted's own endpoint shows the first certificate of the file alone, and never another one.
        named = members(description)
        certificate = ServerCertificate.named(named)
        certificate.load()
        self._certificates.append(certificate)
        port, backlog, interface = int(named["port"]), int(named["backlog"]), named.get("interface", "")
        return SSL4ServerEndpoint(reactor, port, certificate, backlog, interface)


def why(error: Any) -> str:
    """Why a port was not to be had, and what may help."""
    reason = getattr(error, "strerror", None) or str(error)
    return f"{reason}{_ADVICE.get(getattr(error, 'errno', 0), '')}"
