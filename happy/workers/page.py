"""The metrics of several processes as one page."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[^{ ]+")


def merged(pages: Mapping[str, str]) -> str:
    """Pages of the Prometheus text format as one, in which each sample is labelled with its ``worker``.

    ``pages`` are by the worker's name.
    """
    headers: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for worker, page in pages.items():
        family = ""
        for line in page.splitlines():
            if line.startswith("# "):
                family = line.split(" ", 3)[2]
                described = headers.setdefault(family, [])
                if line not in described:
                    described.append(line)
            elif line:
                samples.setdefault(family, []).append(_labelled(line, worker))
    return "".join(f"{line}\n" for family in headers for line in (*headers[family], *samples.get(family, ())))


def only(page: str, *beginnings: str) -> str:
    """The families of a page whose names begin so."""
    kept, keeps = [], False
    for line in page.splitlines():
        if line.startswith("# "):
            keeps = line.split(" ", 3)[2].startswith(beginnings)
        if keeps:
            kept.append(f"{line}\n")
    return "".join(kept)


def _labelled(sample: str, worker: str) -> str:
    name = _NAME.match(sample)
    assert name is not None
    rest = sample[name.end() :]
    label = f'worker="{worker}"'
    if not rest.startswith("{"):
        return f"{name[0]}{{{label}}}{rest}"
    return f"{name[0]}{{{label}{'' if rest.startswith('{}') else ','}{rest[1:]}"
