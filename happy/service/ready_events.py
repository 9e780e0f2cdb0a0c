"""Which of the connections that are ready come first, when they are more than fit into a turn of the reactor.

The system tells of all that can be read from or written to in one line, whosesoever they are: two thousand
sockets that one client closes at once are two thousand places before the next client's request. Here their
owners take turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

Event = tuple[int, int]
"""A file descriptor, and what epoll says of it."""

MOST_READY: Final = 1024
"""Connections that the system is asked for at a time."""

FEW: Final = 64
"""So many are taken as they come, while there is time for all: as many as a turn serves. Where there was not,
those who were left are ranked in the next turn, and come first in it."""

_rank = itemgetter(0)


class ReadyEvents:
    """Puts what is ready in order. ``selectables`` are the reactor's, by file descriptor."""

    __slots__ = ("_selectables", "left")

    def __init__(self, selectables: Mapping[int, Any]) -> None:
        self._selectables = selectables
        self.left: dict[int, None] = {}

    def order(self, events: Sequence[Event]) -> Sequence[Event]:
        """First one of each owner, then a second one of each, and so on; who was left comes before others.

        What the server itself asked for, as of the database, comes before all: somebody waits for it already.
        """
        left = self.left
        if not left and len(events) <= FEW:
            return events
        # The system tells of those who stay ready in the same order every time.
        places = {descriptor: place for place, descriptor in enumerate(left)}
        events = sorted(events, key=lambda event: places.get(event[0], len(places)))
        taken: dict[object, int] = {}
        ranked = []
        for event in events:
            selectable = self._selectables.get(event[0])
            owner = owner_of(selectable)
            rank = taken[owner] = taken.get(owner, 0) + 1
            ranked.append((0 if owner is selectable and _is_own(selectable) else rank, event))
        ranked.sort(key=_rank)
        return [event for _, event in ranked]

    def served(self, events: Sequence[Event], count: int) -> None:
        """Only the first ``count`` had their turn."""
        if count == len(events) and not self.left:
            return
        if len(events) < MOST_READY:
            # These are all that are ready: who was left before and is not among them waits for nothing.
            self.left = dict.fromkeys(descriptor for descriptor, _ in events[count:])
            return
        for descriptor, _ in events[:count]:
            self.left.pop(descriptor, None)
        for descriptor, _ in events[count:]:
            self.left.setdefault(descriptor)


def _is_own(selectable: Any) -> bool:
    """Whether the server opened it: neither a port, nor what a port accepted, by a UNIX socket too."""
    return not (hasattr(selectable, "startListening") or hasattr(selectable, "client"))


def owner_of(selectable: Any) -> object:
    """Whose a connection is: as its protocol names the owner, or else that of its address, or its own."""
    protocol = getattr(selectable, "protocol", None)
    name = getattr(getattr(protocol, "wrappedProtocol", protocol), "name", None)
    if name:
        return name
    client = getattr(selectable, "client", None)
    return client[0] if isinstance(client, tuple) else selectable
