"""Numbers as people read them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table

UNKNOWN = "?"
_SIZES = ("KiB", "MiB", "GiB", "TiB")
_AGES = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def size(count: int | None) -> str:
    """A number of bytes: ``3.4 MiB``."""
    if count is None:
        return UNKNOWN
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in _SIZES:
        value /= 1024
        if value < 1024 or unit == _SIZES[-1]:
            break
    return f"{value:.1f} {unit}"


def number(count: int | None) -> str:
    """A count: ``12,345``."""
    return UNKNOWN if count is None else f"{count:,}"


def some(count: int, noun: str) -> str:
    """So many of something: ``1 session``, ``12,345 sessions``."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def rate(value: float | None) -> str:
    """How often something happens in a time: ``0.3``, ``12``."""
    if value is None:
        return UNKNOWN
    return f"{value:.1f}" if 0 < value < 10 else f"{value:,.0f}"


def allowed(quotas: Mapping[str, int]) -> str:
    """The quotas of an account, by the names of :class:`happy.service.status.Quotas`."""
    parts = []
    if most := quotas["accountSockets"]:
        parts.append(f"{number(most)} sockets")
    if most := quotas["accountSessions"]:
        parts.append(f"{number(most)} sessions")
    if most := quotas["accountAttachments"]:
        parts.append(f"{size(most)} of attachments")
    return ", ".join(parts) or "none"


def duration(millis: float) -> str:
    """A time that something took or lasts, in its two largest units: ``2 d 3 h``."""
    seconds = int(millis // 1000)
    parts: list[str] = []
    for length, unit in _AGES:
        count, seconds = divmod(seconds, length)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(filter(None, parts)) or "0 s"


def age(millis: int | None, now: float | None = None) -> str:
    """How long ago a time (epoch ms) was: ``5 min ago``; ``never`` for none."""
    if millis is None:
        return "never"
    passed = (time.time() if now is None else now) * 1000 - millis
    return "now" if passed < 1000 else f"{duration(passed)} ago"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Aligned columns under their names; a name that begins with ``>`` has its values on the right.

    Not by the library: ten thousand rows take it half a minute.
    """
    lines = [[column.lstrip(">") for column in columns], *rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    adjust = [str.rjust if column.startswith(">") else str.ljust for column in columns]
    head, *body = (
        "   ".join(fit(cell, width) for fit, cell, width in zip(adjust, line, widths, strict=True))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in (head, "\u2500" * len(head.rstrip()), *body))


def facts(pairs: Iterable[tuple[str, str]]) -> Table:
    """What there is to say about one thing, a line each."""
    made = Table.grid(padding=(0, 2))
    for name, value in pairs:
        made.add_row(name, value)
    return made
