"""Where files are kept: in a folder of this machine (:mod:`happy.outbound.folder`) or in an S3-compatible
store (:mod:`happy.outbound.s3`).

Objects are named by paths: ``sessions/<session>/attachments/<file>`` and ``public/...``. Nothing here
blocks the reactor, and no object is ever held in memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from happy.base.redaction import describe_fault

Existing = Callable[[Sequence[str]], Awaitable[Collection[str]]]
"""Tells which of some session ids exist."""

_RETRIES = (1.0, 10.0, 60.0)
"""Seconds to wait before a removal that failed is tried again."""

_log = Logger()


@dataclass(frozen=True, slots=True)
class UploadForm:
    """An upload that goes to the store itself, as a form with these fields and then a file."""

    url: str
    fields: Mapping[str, str]


class ObjectStore(Protocol):
    """What capabilities see of a store. ``local`` ones exchange their bytes through this server.

    An ``owner`` is whoever a call is for, an account or somebody's address, who waits for what it asked for
    before: a store that is slow for one is not for the others (:mod:`happy.base.threads`).

    Once it is started, ``name`` is the same for all servers that keep their files there.
    """

    local: bool
    name: str

    async def start(self) -> None:
        """Make ready. Raises :class:`~happy.base.errors.StartupError`."""

    async def stop(self) -> None:
        """Let go of everything; removals that still wait for another try are given up."""

    def public_url(self, path: str) -> str:
        """Where everybody can read an object below ``public/``."""

    async def put(self, path: str, content: BinaryIO, *, owner: str) -> None:
        """Store all of ``content``, in the place of a former object. It is there whole or not at all."""

    async def file(self, path: str, *, owner: str) -> Path | None:
        """The object as a file of this machine; None if there is none, or the store is not local."""

    def upload_form(self, path: str, limit: int) -> UploadForm | None:
        """How a client uploads up to ``limit`` bytes itself; None if the store is local."""

    def download_url(self, path: str) -> str | None:
        """Where a client downloads the object itself; None if the store is local."""

    async def used(self, session: str, *, owner: str) -> int:
        """The bytes of a session's attachments."""

    async def total(self) -> int | None:
        """The bytes of everything that is stored; None where only the store itself could tell."""

    def remove_session(self, session: str, *, owner: str) -> Deferred[None]:
        """Remove a session's attachments. Tries again when that fails, and never fails itself."""

    async def sweep(self, existing: Existing) -> int:
        """Remove the attachments of sessions that do not exist; returns of how many."""


def attachment(session: str, file: str) -> str:
    """The path of an attachment."""
    return f"{attachments(session)}{file}"


def attachments(session: str) -> str:
    """What the paths of a session's attachments begin with."""
    return f"sessions/{session}/attachments/"


class Removals:
    """Removals that go on in the background until they succeed or have been tried often enough."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._under_way: set[Deferred[None]] = set()

    def begin(self, remove: Callable[[], Awaitable[None]]) -> Deferred[None]:
        """Fires, without a failure, when the removal is over."""
        removal = Deferred.fromCoroutine(self._persist(remove))
        self._under_way.add(removal)
        return removal.addBoth(self._over, removal)

    def _over(self, result: None, removal: Deferred[None]) -> None:
        self._under_way.discard(removal)

    async def _persist(self, remove: Callable[[], Awaitable[None]]) -> None:
        for wait in (*_RETRIES, None):
            try:
                return await remove()
            except CancelledError:
                raise
            except Exception as error:
                fault = describe_fault(error)
                _log.error("Attachments of a deleted session could not be removed: {fault}", fault=fault)
            if wait is not None:
                await deferLater(self._clock, wait)

    def stop(self) -> None:
        """Give up those that wait."""
        for removal in list(self._under_way):
            removal.cancel()
