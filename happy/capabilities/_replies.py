"""What several endpoints answer alike."""

from __future__ import annotations

from typing import Literal

from happy.api.structs import Reply


class Success(Reply):
    """It was done."""

    success: Literal[True] = True
