"""What other nodes have of an account, as they told it."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from happy.cluster.wire import NodeChange, NodeState
from happy.realtime.pending import RemoteOffer


class Peer(Struct):
    """What one node has; ``methods`` with their ranks."""

    users: bool = False
    viewing: bool = False
    machines: set[str] = field(default_factory=set)
    methods: dict[str, int] = field(default_factory=dict)


class Roster:
    """The peers that host an account. What is not known is absent."""

    __slots__ = ("_aside", "peers")

    def __init__(self) -> None:
        self.peers: dict[str, Peer] = {}
        self._aside: dict[str, Peer] | None = None

    @property
    def users(self) -> bool:
        """Whether some peer has user-scoped clients, or expects them back."""
        return any(peer.users for peer in self.peers.values())

    @property
    def viewing(self) -> bool:
        """Whether a client of some peer is looked at."""
        return any(peer.viewing for peer in self.peers.values())

    def has_machine(self, machine: str) -> bool:
        """Whether a connection of the machine is open at some peer."""
        return any(machine in peer.machines for peer in self.peers.values())

    def offers(self, method: str) -> Iterator[RemoteOffer]:
        """Who offers a method."""
        for node, peer in self.peers.items():
            if method in peer.methods:
                yield RemoteOffer(peer.methods[method], node)

    def hear(self, said: NodeState | NodeChange) -> Peer | None:
        """A peer tells what it has, or what has changed.

        Answers what it had before we last lost sight of it, the first time that it tells its state since.
        """
        if isinstance(said, NodeState):
            self.peers[said.node] = Peer(said.users, said.viewing, set(said.machines), dict(said.methods))
            return self._aside.pop(said.node, None) if self._aside else None
        peer = self.peers.get(said.node)
        if peer is not None:  # Otherwise its state is still to come.
            peer.users, peer.viewing = said.users, said.viewing
            peer.machines.update(said.came)
            peer.machines.difference_update(said.went)
            peer.methods.update(said.offered)
            for method in said.withdrawn:
                peer.methods.pop(method, None)
        return None

    def set_aside(self) -> None:
        """Nothing is known of anybody, until they tell it again."""
        if self.peers:
            self._aside = (self._aside or {}) | self.peers
            self.peers.clear()

    def drop(self, node: str) -> Peer:
        """A peer hosts the account no longer; answers what it had."""
        former = self._aside.pop(node, None) if self._aside else None
        return self.peers.pop(node, None) or former or Peer()
