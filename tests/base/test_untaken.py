"""What the system has of a connection's output."""

from __future__ import annotations

import socket

import pytest

from happy.base import untaken as module
from happy.base.untaken import untaken


def test_system() -> None:
    """What the system has and the other side has not read is told, where the system tells it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
    with far, near:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        near.setblocking(False)
        sent = near.send(bytes(10_000_000))
        if module.ioctl is None or not untaken(near):
            pytest.skip("the system does not tell")
        assert 0 < untaken(near) <= sent
    assert untaken(near) == 0
    assert untaken(object()) == 0
