"""Events that came, kept until somebody asks for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

Predicate = Callable[[Any], bool]


@dataclass(frozen=True, slots=True, eq=False)
class _Reader:
    name: str
    wants: Predicate
    found: Deferred[Any]


class Mailbox:
    """Named values in order of arrival; the earliest go first when there are more than ``limit``."""

    def __init__(self, limit: int) -> None:
        self._kept: deque[tuple[str, Any]] = deque(maxlen=limit)
        self._readers: list[_Reader] = []
        self._closed: Failure | None = None

    def put(self, name: str, value: Any) -> None:
        """Give a value to the first reader that wants it, or keep it."""
        for reader in tuple(self._readers):
            if reader.name == name and self._offer(reader, value):
                return
        self._kept.append((name, value))

    def _offer(self, reader: _Reader, value: Any) -> bool:
        """Whether a reader takes the value; one that fails over it gets its own error."""
        try:
            wanted = reader.wants(value)
        except Exception:
            # The condition is the reader's; who put the value has nothing to do with it.
            self._readers.remove(reader)
            reader.found.errback(Failure())
            return False
        if wanted:
            self._readers.remove(reader)
            reader.found.callback(value)
        return wanted

    def take(self, name: str, wants: Predicate) -> Deferred[Any]:
        """The first value called ``name`` that ``wants`` accepts, removed; now or when it comes."""
        for entry in self._kept:
            if entry[0] == name and wants(entry[1]):
                self._kept.remove(entry)
                found: Deferred[Any] = Deferred()
                found.callback(entry[1])
                return found
        return self._wait(name, wants)

    def _wait(self, name: str, wants: Predicate) -> Deferred[Any]:
        found: Deferred[Any] = Deferred(lambda _: self._readers.remove(reader))
        reader = _Reader(name, wants, found)
        if self._closed is not None:
            found.errback(self._closed)
        else:
            self._readers.append(reader)
        return found

    def peek(self, name: str) -> list[Any]:
        """The values called ``name`` that nobody has taken."""
        return [value for kept, value in self._kept if kept == name]

    def close(self, reason: Failure) -> None:
        """Nothing more will come: fail whoever waits now or later. What is kept can still be taken."""
        self._closed = reason
        readers, self._readers = self._readers, []
        for reader in readers:
            reader.found.errback(reason)
