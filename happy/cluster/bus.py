"""What carries messages between nodes, fast and without promises.

A message reaches every bus that has subscribed to its channel, the sender's own too, at most once; those of
one sender arrive in the order in which they were published, whatever their channels, and what was published
after something was heard is heard after it. What is lost here is read from the database, so nothing is stored
and nothing is sent again.

Channels are named by :func:`account_channel`, :func:`node_channel` and :data:`NODES`. A bus keeps services
and versions of the protocol apart; only what is said on :data:`NODES` is heard by every version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

NODES: Final = "nodes"
"""Where every node says that it lives."""


def account_channel(account: str) -> str:
    """Where the nodes listen that have clients of an account."""
    return f"a:{account}"


def node_channel(node: str) -> str:
    """Where one node listens."""
    return f"n:{node}"


def is_account(channel: str) -> bool:
    """Whether a channel is an account's."""
    return channel.startswith("a:")


def is_node(channel: str) -> bool:
    """Whether a channel is one node's own."""
    return channel.startswith("n:")


class BusLost(Exception):
    """The way to the others broke, or was not open: whether a message went out is not known."""


class BusOwner(Protocol):
    """Whom a bus tells what happens."""

    def heard(self, channel: str, payload: bytes) -> None:
        """A message."""

    def confirmed(self, channel: str) -> None:
        """Whatever is published on a channel from now on is heard; said again after each loss."""

    def back(self) -> None:
        """The bus is up, for the first time or again; what was said meanwhile was not heard."""

    def lost(self) -> None:
        """The bus is up no longer, and tries to be by itself; what was under way fails after this."""


class Bus(Protocol):
    """A way to the other nodes."""

    largest: int
    """Bytes of a payload that it carries gladly. It takes more; what can be read elsewhere should be."""

    @property
    def up(self) -> bool:
        """Both ways are open, and every channel that was wanted when they were opened is confirmed."""

    def start(self, owner: BusOwner) -> Deferred[None]:
        """Connect; fires when it is up. Fails with StartupError if it will never be."""

    def stop(self) -> Deferred[None]:
        """Disconnect; fires when it is done. Nothing is told from now on."""

    def publish(self, channel: str, payload: bytes) -> Deferred[int | None]:
        """Say something; fires when it went out, with how many hear it (None: unknown).

        Fails with :class:`BusLost`, also if the bus is not up.
        """

    def say(
        self, channel: str, payload: bytes, out: Callable[[int | None], object], lost: Callable[[], object]
    ) -> None:
        """As :meth:`publish`, for what is said thousands of times a second: calls ``out`` with how many hear
        it, or ``lost``, once, now or later."""

    def subscribe(self, channels: Iterable[str]) -> None:
        """Listen to channels, now and after each loss; ``confirmed`` is told of each."""

    def unsubscribe(self, channels: Iterable[str]) -> None:
        """Listen to them no longer."""

    def subscribers(self, channel: str) -> Deferred[int | None]:
        """How many listen to a channel (None: unknown). Fails with :class:`BusLost`."""

    def cut(self) -> None:
        """Drop what is connected, and connect anew: ``lost`` is told now if it was up, ``back`` later."""
