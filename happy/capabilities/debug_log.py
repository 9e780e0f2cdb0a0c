"""The sink for log lines of development builds (http.md 6.18); off unless the operator asks for it."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, UnsetType
from twisted.logger import Logger, LogLevel

from happy.api.declare import Capability
from happy.api.structs import Body
from happy.capabilities._replies import Success

_LEVELS = {
    "error": LogLevel.error,
    "warn": LogLevel.warn,
    "warning": LogLevel.warn,
    "debug": LogLevel.debug,
}

_log = Logger()

debug_log = Capability("debug_log", enabled=lambda config: config.debug_log)


class LogLine(Body):
    """One line of a client's log. ``message_raw_object`` is dropped."""

    timestamp: str
    level: str
    message: str
    message_raw_object: Any = None
    source: Literal["mobile", "cli"]
    platform: str | UnsetType = UNSET


@debug_log.post("/logs-combined-from-cli-and-mobile-for-simple-ai-debugging", public=True)
async def write(body: LogLine) -> Success:
    """Write the line to this server's own log."""
    _log.emit(
        _LEVELS.get(body.level, LogLevel.info),
        "[{source} {platform} {timestamp}] {text}",
        source=body.source,
        platform=body.platform or "-",
        timestamp=body.timestamp,
        text=body.message,
    )
    return Success()
