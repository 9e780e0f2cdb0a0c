"""Connections that write at once instead of at the reactor's next turn.

Twisted buffers what is written and sends it when epoll reports room: two system calls and a turn of the
reactor for each packet of a fan-out. An :class:`EagerServer` with nothing queued sends immediately, and
falls back to Twisted's way for whatever the system does not take. Two private names of Twisted's are
read (``_tempDataBuffer``, ``_writeDisconnected``), only here; ``tests/realtime/test_eager.py`` fails when
they are gone.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp


class EagerServer(tcp.Server):
    """A server-side TCP connection whose ``write`` sends at once when it can."""

    def write(self, data: bytes) -> None:
        """Send, or queue what cannot be sent now."""
        if (
            self.connected
            and not self.disconnecting
            and not self.dataBuffer
            and not self._tempDataBuffer
            and not self._writeDisconnected
        ):
            sent = self.writeSomeData(data)
            # An exception stands for a broken connection, which the buffered way reports as usual.
            if isinstance(sent, int):
                if sent == len(data):
                    return
                data = data[sent:]
        super().write(data)


def make_eager(port: Any) -> None:
    """Let a listening TCP port make eager connections from now on; other kinds of port stay as they are."""
    if isinstance(port, tcp.Port) and port.transport is tcp.Server:
        port.transport = EagerServer
