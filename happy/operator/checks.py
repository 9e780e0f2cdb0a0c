"""What a doctor finds: one record a check."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

State = Literal["ok", "warn", "fail"]


class Check(NamedTuple):
    """What was looked at, how it is, what was seen, and what to do about it where it is not well."""

    name: str
    state: State
    detail: str
    fix: str = ""


Look = Callable[[], Iterable[Check]]


def looked(looks: Iterable[Look]) -> list[Check]:
    """What all find, in their order; they look at the same time, since each waits for something else."""
    with ThreadPoolExecutor(8) as threads:
        return [check for found in threads.map(lambda look: list(look()), looks) for check in found]
