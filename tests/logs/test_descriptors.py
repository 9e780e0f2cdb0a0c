"""What is said of clients when the process may open no further descriptor."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from tests.logs.test_bounded import World

CLIENT = "127.0.0.77"


@contextmanager
def exhausted() -> Iterator[None]:
    """There is no descriptor left."""
    free = os.dup(0)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class ExhaustedTests(TestCase):
    """Twisted turns clients away that it cannot even accept, and names them."""

    def test_no_address(self) -> None:
        """Of those who are turned away no address is written, at any level, but that it happens is."""
        world, listening = World("debug"), reactor
        port: Any = listening.listenTCP(0, Factory(), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        port._logger, port.numberAccepts = world.logger("twisted.internet.tcp.Port"), 10
        with ExitStack() as clients:
            for _ in range(3):
                client = clients.enter_context(socket.socket())
                client.bind((CLIENT, 0))
                client.connect(("127.0.0.1", port.getHost().port))
            with exhausted():
                port.doRead()
        said = "\n".join(world.lines)
        self.assertIn("EMFILE recovery: Closed socket", said)
        self.assertNotIn(CLIENT, said)
