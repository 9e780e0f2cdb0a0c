"""The nodes as people see them: what each says of itself, and what does not fit together."""

from __future__ import annotations

from collections.abc import Callable
from socket import gethostname
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from happy import __version__
from happy.cluster import wire

if TYPE_CHECKING:
    from happy.cluster.nodes import Nodes


class Company:
    """This node among the others.

    ``files`` is where it keeps what is uploaded, ``secret`` the fingerprint of its master secret; both are
    compared with the others'. ``sockets`` tells how many there are here, ``drained`` whether it is emptied,
    and ``routed`` whether proxies find this node's clients by its name.
    """

    sockets: Callable[[], int] = staticmethod(lambda: 0)
    drained: Callable[[], bool] = staticmethod(lambda: False)
    files = secret = ""
    routed = False

    _log = Logger()

    def __init__(self, node: str, name: str, since: int) -> None:
        """``name`` is what people call it; it began at ``since`` (epoch milliseconds)."""
        self.name = name
        self._node = node
        self._since = since
        self._elsewhere: set[str] = set()
        self._namesakes: set[str] = set()

    def myself(self, era: int, *, leaving: bool) -> wire.Beat:
        """What is said of this node."""
        return wire.Beat(
            self._node,
            self.name,
            wire.VERSION,
            leaving or self.drained(),
            era,
            __version__,
            gethostname(),
            self._since,
            self.sockets(),
            self.files,
            self.secret,
        )

    def compare(self, said: wire.Beat) -> None:
        """Complain, once, of a node that keeps files where this one does not find them, or has its name.

        One that is being emptied may go on for a while beside the one that takes its place.
        """
        if self._apart(said) and said.node not in self._elsewhere:
            self._elsewhere.add(said.node)
            text = "Node {name} keeps its files elsewhere: what is uploaded needs S3, or a shared folder"
            self._log.warn(text, name=said.name)
        if self.routed and said.name == self.name and not said.draining and said.node != self._node:
            self._complain_of_name(said)

    def _complain_of_name(self, said: wire.Beat) -> None:
        if said.node not in self._namesakes:
            self._namesakes.add(said.node)
            text = (
                "Another node, on {host}, is called {name} too: clients on long polling lose their sessions "
                "where a proxy finds nodes by HAPPY_NODE, which has to differ"
            )
            self._log.warn(text, name=said.name, host=said.host or "an unknown host")

    def forget(self, node: str) -> None:
        """A node is gone."""
        self._elsewhere.discard(node)
        self._namesakes.discard(node)

    def told(self, nodes: Nodes, called: Callable[[str], str]) -> list[dict[str, Any]]:
        """All nodes, this one first; ``called`` tells what another is called.

        Each has ``name``, ``state`` (``here``, ``there`` or ``draining``), ``version``, ``host``, ``since``
        (epoch milliseconds), ``sockets``, ``secret`` and ``filesElsewhere``, whether this node cannot find
        what was uploaded there. What a node has not said of itself is missing.
        """
        others = [
            self._line(known.said, called(node), "draining" if known.said.draining else "there")
            for node, known in nodes.known.items()
        ]
        return [self._line(self.myself(0, leaving=False), self.name, "here"), *others]

    def _line(self, said: wire.Beat, name: str, state: str) -> dict[str, Any]:
        line: dict[str, Any] = {"name": name, "state": state}
        if said.release:
            line |= {"version": said.release, "host": said.host, "since": said.since, "sockets": said.sockets}
            line["filesElsewhere"] = self._apart(said)
        if said.secret:
            line["secret"] = said.secret
        return line

    def _apart(self, said: wire.Beat) -> bool:
        """Whether files that are uploaded there are not found here."""
        return bool(said.files and self.files and said.files != self.files)
