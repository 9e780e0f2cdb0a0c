"""What accounts have under way between nodes, bounded for each of them and for all.

The bus takes so much before it is as good as gone, which concerns everybody. So of what clients can make
large each account has a share: as much as is left for the others. One that is alone gets half, ten that want
all they can get leave an eleventh, and whoever comes next finds as much. Nothing that was said can be taken
back, so who is beyond that is refused.
"""

from __future__ import annotations

from typing import Final

WAY_BYTES: Final = 16 * 1024 * 1024
"""Bytes of calls, of answers, of large updates and of what clients leave behind that have not gone out.
A bus has twice that until it is cut."""

LARGE: Final = 4096
"""Bytes from which on something counts: so many small ones do not come in the moment that the bus takes."""


class Room:
    """``left`` is how much of it nobody has."""

    __slots__ = ("_had", "left")

    def __init__(self, size: int) -> None:
        self.left = size
        self._had: dict[str, int] = {}

    def take(self, account: str, amount: int) -> bool:
        """Take some, to be given back; False, and nothing taken, if the account had more than is left."""
        had, left = self._had.get(account, 0) + amount, self.left - amount
        if had > left:
            return False
        self._had[account], self.left = had, left
        return True

    def give_back(self, account: str, amount: int) -> None:
        """Give back some of what was taken."""
        self.left += amount
        had = self._had[account] - amount
        if had:
            self._had[account] = had
        else:
            del self._had[account]
