"""Engine.IO sessions in each of their states, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from happy.wire.engine_events import (
    Ended,
)
from happy.wire.engine_session import EngineSession
from happy.wire.engineio import EngineSettings, encode_message

SETTINGS = EngineSettings()
KICKED = "forced close"
HELLO = encode_message(b"hello")
WORLD = encode_message(b"world")


def polling(now: float = 0.0) -> EngineSession:
    """A session on polling, with its handshake done."""
    session = EngineSession("sid", SETTINGS, now)
    session.open_polling("handshake")
    return session


def on_websocket(now: float = 0.0) -> EngineSession:
    """A session that started on WebSocket ``ws``."""
    session = EngineSession("sid", SETTINGS, now)
    session.open_websocket("ws")
    return session


def probing() -> EngineSession:
    session = polling()
    session.offer("ws", 0.0)
    return session


def probed() -> EngineSession:
    session = probing()
    session.received("ws", b"2probe", False, 0.0)
    return session


def upgraded() -> EngineSession:
    session = probed()
    session.received("ws", b"5", False, 0.0)
    return session


def draining() -> EngineSession:
    session = polling()
    session.shut(KICKED, 0.0)
    return session


def lingering() -> EngineSession:
    session = polling()
    post(session, b"1")
    return session


def closed() -> EngineSession:
    session = on_websocket()
    session.websocket_lost("ws", 0.0, clean=True)
    return session


def post(session: EngineSession, body: bytes, now: float = 0.0, request: Any = "post") -> list[Any]:
    """A whole POST, worked through to its end."""
    effects = [*session.post_begun(request, now), *session.post(request, body, now)]
    while session.unfinished:
        effects += session.proceed(now)
    return effects


def ending(effects: Sequence[Any]) -> list[str]:
    """The reasons that effects give for an end."""
    return [effect.reason for effect in effects if isinstance(effect, Ended)]
