"""What nodes count of themselves: unlike a log, nothing is left out of it when it comes often."""

from __future__ import annotations

from typing import Any

import treq
from prometheus_client.parser import text_string_to_metric_families

PATIENCE = 10.0
ATTEMPTS = 5
"""On a busy machine a node that runs may not answer at first."""


async def samples(port: int) -> list[Any]:
    """All samples of the node whose metrics are at a port. Raises what the last attempt to get them does."""
    for attempts_left in reversed(range(ATTEMPTS)):
        try:
            answer = await treq.get(f"http://127.0.0.1:{port}/metrics", persistent=False, timeout=PATIENCE)
            text = await treq.text_content(answer)
            break
        except Exception:
            if not attempts_left:
                raise
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


async def looks(port: int) -> dict[str, float]:
    """How often a node compared itself with the database, by the reason that it had."""
    found = await samples(port)
    return {one.labels["reason"]: one.value for one in found if one.name == "happy_catch_ups_total"}


async def is_up(port: int) -> bool:
    """Whether a node's bus is up."""
    return any(one.name == "happy_bus_up" and one.value == 1 for one in await samples(port))
