"""The contract in the form of documents, as they are served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import DeferredLock

from happy.contract.asyncapi import asyncapi
from happy.contract.openapi import openapi
from happy.contract.writing import text

if TYPE_CHECKING:
    from happy.api.declare import Capability

_Run = Callable[[Callable[[], bytes]], Awaitable[bytes]]
_Make = Callable[["Sequence[Capability]"], dict[str, Any]]


class Documents:
    """Both documents for some capabilities, each made when it is first asked for.

    That takes longer than a turn of the reactor may, so ``run`` does it elsewhere.
    """

    def __init__(self, capabilities: Sequence[Capability], run: _Run) -> None:
        self._capabilities = capabilities
        self._run = run
        self._made: dict[_Make, bytes] = {}
        self._making = DeferredLock()

    async def openapi(self) -> bytes:
        """The HTTP endpoints, as a JSON text. Raises what ``run`` does."""
        return await self._text(openapi)

    async def asyncapi(self) -> bytes:
        """The events on sockets, as a JSON text. Raises what ``run`` does."""
        return await self._text(asyncapi)

    async def _text(self, make: _Make) -> bytes:
        if make not in self._made:
            await self._making.acquire()
            try:
                if make not in self._made:
                    self._made[make] = await self._run(partial(self._written, make))
            finally:
                self._making.release()
        return self._made[make]

    def _written(self, make: _Make) -> bytes:
        return text(make(self._capabilities))
