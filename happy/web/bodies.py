"""Bodies of requests while they are in the house: counted, and large ones in a file."""

from __future__ import annotations

from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import Final

from happy.budget import Budget

SPOOL_SIZE: Final = 100 * 1024
"""Bodies above it wait in a temporary file."""


class _Share:
    """A part of a budget, given back at once."""

    __slots__ = ("_budget", "_held")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held = 0

    def hold(self, size: int) -> bool:
        if not self._budget.take(size):
            return False
        self._held += size
        return True

    def release(self) -> None:
        held, self._held = self._held, 0
        self._budget.give_back(held)


class SmallBody(BytesIO):
    """A body in memory."""

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._share = _Share(budget)

    def hold(self, size: int) -> bool:
        """Whether there is room for ``size`` more bytes, which then count until the body is closed."""
        return self._share.hold(size)

    def close(self) -> None:
        """Forget the body."""
        self._share.release()
        super().close()


class LargeBody(SpooledTemporaryFile[bytes]):
    """A body of unknown or large size, in a file as soon as it is large."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(SPOOL_SIZE)
        self._share = _Share(budget)

    def hold(self, size: int) -> bool:
        """As :meth:`SmallBody.hold`."""
        return self._share.hold(size)

    def close(self) -> None:
        """Forget the body."""
        self._share.release()
        super().close()
