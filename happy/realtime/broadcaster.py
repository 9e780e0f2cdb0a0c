"""Whoever tells clients, wherever they are connected; with one node that is its hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from happy.realtime.client import Client
    from happy.realtime.updates import Audience, EphemeralBody, Update


class Broadcaster(Protocol):
    """All clients of the service, as far as they are told something or asked for."""

    def deliver(self, update: Update) -> None:
        """Send a committed update, in sequence order per account."""

    def signal(self, audience: Audience, body: EphemeralBody) -> None:
        """Send a passing signal to whoever is connected."""

    def after(self, account: str, act: Callable[..., object], *arguments: object) -> None:
        """Act when the clients connected here have been told of every update before."""

    def told(self, account: str) -> Deferred[None] | None:
        """Fires when the clients connected here have been told of every update before; None if they have."""

    def current(self, account: str) -> Deferred[None] | None:
        """Fires when the clients connected here have been told of whatever is committed now, by whomever.

        None if they have been told of everything that this node has not told them yet itself.
        """

    def look(self, client: Client, viewing: bool) -> None:
        """A client connected here came to the foreground, or went from it (realtime.md B.10)."""

    def viewing(self, account: str) -> bool:
        """Whether a declared user-scoped client of the account is in the foreground (realtime.md B.10)."""

    def acquainted(self, account: str) -> Deferred[None] | None:
        """Fires when :meth:`viewing` knows of other nodes, as far as they say in time; None if it does."""

    def machine_connected(self, account: str, machine: str) -> bool:
        """Whether some machine-scoped connection of the machine is open."""


class Observer(Protocol):
    """Who wants to know of the hub's clients what other nodes are to know."""

    def joined(self, client: Client) -> None:
        """A client hears what it watches from now on."""

    def left(self, client: Client) -> None:
        """A client does not any more."""

    def looked(self, client: Client) -> None:
        """A client's ``viewing`` has changed."""
