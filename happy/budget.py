"""An amount of something that many share."""

from __future__ import annotations


class Budget:
    """``size`` of something, of which each takes some and gives it back."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0

    def take(self, amount: int) -> bool:
        """Take some; False, and nothing taken, when there is not so much left."""
        if self.used + amount > self.size:
            return False
        self.used += amount
        return True

    def give_back(self, amount: int) -> None:
        """Give back what was taken."""
        self.used -= amount
