"""Kinds of values on the command line."""

from __future__ import annotations

import re
from typing import Any

import click

_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000}


class Duration(click.ParamType[int]):
    """A number and a unit, as ``15m``; in milliseconds. ``0`` needs no unit."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it; what is no duration is wrong usage."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"\s*([0-9]{1,6})\s*([smhdwy])\s*", str(value))
        if found is not None:
            return int(found[1]) * _UNITS[found[2]]
        if str(value).strip() == "0":
            return 0
        return self.fail(f"{value!r} must be a time such as 30s, 15m, 12h, 30d, 4w or 1y", param, ctx)


DURATION = Duration()
