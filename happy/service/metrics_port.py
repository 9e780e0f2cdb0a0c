"""The port on which a server tells how it is."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from happy.base.errors import StartupError
from happy.service.listening import why
from happy.settings.endpoints import tcp

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort
    from twisted.web.server import Site

    from happy.settings.config import Config


class MetricsPort:
    """Listens on the metrics port, if there is to be one."""

    log = Logger()

    def __init__(self, config: Config, reactor: Any) -> None:
        self._config = config
        self._reactor = reactor
        self.port: IListeningPort | None = None

    async def start(self, site: Site) -> None:
        """Listen. A port that is taken is logged, and the server goes on without (http.md 11).

        Raises StartupError for anything else.
        """
        if not self._config.metrics_enabled:
            return
        address = tcp(self._config.metrics_host, self._config.metrics_port)
        try:
            self.port = await serverFromString(self._reactor, address).listen(site)
        except CannotListenError as error:
            if getattr(error.socketError, "errno", None) != errno.EADDRINUSE:
                raise StartupError(f"metrics-port: cannot listen: {why(error.socketError)}") from None
            self.log.error(
                "metrics-port {port} is taken; going on without metrics", port=self._config.metrics_port
            )

    async def stop(self) -> None:
        """Stop listening; connections end with the process."""
        port, self.port = self.port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
