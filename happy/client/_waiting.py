"""Waiting, but not for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, TypeVar

from twisted.internet.defer import Deferred, TimeoutError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")


def within(seconds: float, awaited: Deferred[T], clock: IReactorTime) -> Deferred[T]:
    """``awaited``, cancelled and failed with ``twisted.internet.defer.TimeoutError`` if it takes longer."""
    return awaited.addTimeout(seconds, clock, _too_slow)


def _too_slow(result: object, seconds: float) -> NoReturn:
    """Agents and endpoints wrap a cancellation in errors of their own; callers wait for one kind."""
    raise TimeoutError(seconds, "Deferred")
