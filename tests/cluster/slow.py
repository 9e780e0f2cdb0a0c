"""A node that has too much to do, as a test wants it."""

from __future__ import annotations

from collections import deque
from typing import Any


class Slow:
    """What waits while a node is busy goes on when the world says so (:class:`happy.base.pace.Pace`)."""

    def __init__(self) -> None:
        self.busy = False
        self.waiting: deque[Any] = deque()

    def over(self) -> bool:
        return self.busy

    def wait(self, owner: str, waiter: Any) -> None:
        self.waiting.append(waiter)
