"""What is kept for a client, and who pays for it: its address until it has logged in, then its account."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from happy.socketio.shared import Shared


class Kept:
    """What one connection has of its endpoint's memory.

    ``name`` is who pays, ``holding`` is where everything counts that is kept for the client. A connection
    that is in no namespace, or on polling, counts for itself too, since anybody can open any number of these.
    """

    __slots__ = ("_shared", "_stranger", "_weight", "holding", "name")

    def __init__(self, shared: Shared, owner: str) -> None:
        self._shared = shared
        self._weight = shared.session_bytes
        self._stranger = True
        self.name = owner
        self.holding = shared.memory.open(owner, self)

    def give_up(self) -> None:
        """Somebody else needs what this client has. For :class:`happy.base.bounds.Budget`."""
        raise NotImplementedError

    def enter(self, size: int) -> bool:
        """Whether there is room for one more client, and the ``size`` of what it presents. Asked once."""
        if self.holding.take(self._weight + size):
            return True
        self.holding.close()
        return False

    def pay_as(self, owner: str) -> bool:
        """Let another owner pay from now on.

        False if that is more than the owner may have: the connection is to be closed then.
        """
        if self._is_light():
            self._be_light()
        if not self.holding.move(owner):
            return False
        self.name = owner
        return True

    def joined(self) -> None:
        """The client is in a namespace."""
        self._stranger = False
        if self._is_light():
            self._be_light()

    def left(self) -> None:
        """The client is in no namespace any more."""
        self._stranger = True
        if not self._weight and self.holding.take(self._shared.session_bytes):
            self._weight = self._shared.session_bytes

    def upgraded(self) -> None:
        """The client is on WebSocket."""
        if not self._stranger:
            self._be_light()

    def _is_light(self) -> bool:
        """Whether the connection counts only for what is kept, once it is in a namespace."""
        raise NotImplementedError

    def _be_light(self) -> None:
        weight, self._weight = self._weight, 0
        self.holding.give_back(weight)
