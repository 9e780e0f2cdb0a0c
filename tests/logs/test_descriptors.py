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
    """There is no descriptor left, and one that is given up can be had again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/dev/fd")))
    taken = [os.dup(0)]
    try:
        # Numbers have no gap below the limit: what Twisted keeps in reserve may be any of them.
        while taken[-1] < highest:
            taken.append(os.dup(0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken[-1] + 1, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for number in taken:
            os.close(number)


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
