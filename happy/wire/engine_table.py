"""The rules of an Engine.IO session: for each state, what each input does to it.

An input that a state does not list has no effect in it. Sources: realtime.md A.4 to A.7 and A.10.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from happy.wire.engine_events import (
    PARSE_ERROR,
    PING_TIMEOUT,
    TRANSPORT_CLOSE,
    TRANSPORT_ERROR,
    Input,
    State,
)
from happy.wire.engineio import EngineProblem, PacketType

Row = tuple[Any, ...]
"""The following state (None: the same), the session's method that acts, and its first arguments."""

_SAME: Final = None

_ON_POLLING: Final[Mapping[Input, Row]] = {
    Input.POLL: (_SAME, "_hold"),
    Input.EXTRA_POLL: (State.CLOSED, "_overlap"),
    Input.POLL_LOST: (State.CLOSED, "_end", TRANSPORT_ERROR),
    Input.POST: (_SAME, "_accept"),
    Input.EXTRA_POST: (State.CLOSED, "_overlap_post"),
    Input.POST_LOST: (State.CLOSED, "_end", TRANSPORT_ERROR),
    Input.MESSAGE: (_SAME, "_deliver"),
    Input.PONG: (_SAME, "_pong"),
    Input.PING: (State.CLOSED, "_end", TRANSPORT_ERROR),
    Input.CLOSE: (State.LINGERING, "_linger"),
    Input.CLOSE_POLLED: (State.CLOSED, "_part_polled"),
    Input.GARBAGE: (State.CLOSED, "_end", PARSE_ERROR),
    Input.SEND: (_SAME, "_enqueue"),
    Input.SHUT: (State.DRAINING, "_drain"),
    Input.SHUT_POLLED: (State.CLOSED, "_end"),
    Input.BREAK: (State.CLOSED, "_end", TRANSPORT_ERROR),
    Input.PING_DUE: (_SAME, "_ping"),
    Input.PONG_DUE: (State.CLOSED, "_end", PING_TIMEOUT),
}

_UPGRADING: Final[Mapping[Input, Row]] = {
    **_ON_POLLING,
    Input.OFFER: (_SAME, "_refuse_websocket"),
    Input.PROBE: (State.PROBED, "_answer_probe"),
    Input.COMMIT: (State.WEBSOCKET, "_commit"),
    Input.STRAY: (State.POLLING, "_drop_candidate"),
    Input.CANDIDATE_LOST: (State.POLLING, "_drop_candidate"),
    Input.UPGRADE_DUE: (State.POLLING, "_drop_candidate"),
}

TABLE: Final[Mapping[State, Mapping[Input, Row]]] = {
    State.POLLING: {
        **_ON_POLLING,
        Input.OFFER: (State.PROBING, "_stand_by"),
    },
    State.PROBING: _UPGRADING,
    State.PROBED: {
        **_UPGRADING,
        Input.NOOP_DUE: (_SAME, "_release_poll"),
    },
    State.WEBSOCKET: {
        Input.POLL: (_SAME, "_refuse", EngineProblem.BAD_REQUEST),
        Input.POST: (_SAME, "_refuse", EngineProblem.BAD_REQUEST),
        Input.EXTRA_POST: (_SAME, "_refuse", EngineProblem.BAD_REQUEST),
        Input.OFFER: (_SAME, "_refuse_websocket"),
        Input.MESSAGE: (_SAME, "_deliver"),
        Input.PONG: (_SAME, "_pong"),
        Input.PING: (State.CLOSED, "_end", TRANSPORT_ERROR),
        Input.CLOSE: (State.CLOSED, "_end", TRANSPORT_CLOSE),
        Input.GARBAGE: (State.CLOSED, "_end", PARSE_ERROR),
        Input.LOST: (State.CLOSED, "_lose", TRANSPORT_CLOSE),
        Input.FAILED: (State.CLOSED, "_lose", TRANSPORT_ERROR),
        Input.SEND: (_SAME, "_write"),
        Input.SHUT: (State.CLOSED, "_end"),
        Input.BREAK: (State.CLOSED, "_end", TRANSPORT_ERROR),
        Input.PING_DUE: (_SAME, "_ping"),
        Input.PONG_DUE: (State.CLOSED, "_end", PING_TIMEOUT),
    },
    State.DRAINING: {
        Input.POLL: (State.CLOSED, "_end_draining"),
        Input.POST: (_SAME, "_ignore_post"),
        Input.EXTRA_POST: (_SAME, "_ignore_post"),
        Input.OFFER: (_SAME, "_refuse_websocket"),
        Input.FORGET_DUE: (State.CLOSED, "_forget"),
    },
    State.LINGERING: {
        Input.POLL: (State.CLOSED, "_end_lingering"),
        Input.POST: (_SAME, "_refuse", EngineProblem.UNKNOWN_SID),
        Input.EXTRA_POST: (_SAME, "_refuse", EngineProblem.UNKNOWN_SID),
        Input.OFFER: (_SAME, "_refuse_websocket"),
        Input.FORGET_DUE: (State.CLOSED, "_forget"),
    },
    State.CLOSED: {
        Input.POLL: (_SAME, "_refuse", EngineProblem.UNKNOWN_SID),
        Input.POST: (_SAME, "_refuse", EngineProblem.UNKNOWN_SID),
        Input.EXTRA_POST: (_SAME, "_refuse", EngineProblem.UNKNOWN_SID),
        Input.OFFER: (_SAME, "_refuse_websocket"),
    },
}

POLLED: Final = frozenset({State.POLLING, State.PROBING, State.PROBED})
"""The states of a session that is on polling and goes on."""

A_LITTLE_LATE: Final = 0.05
"""By so many seconds a timer may fire late and count as on time."""

PACKETS: Final = {
    PacketType.OPEN: Input.IDLE,
    PacketType.CLOSE: Input.CLOSE,
    PacketType.PING: Input.PING,
    PacketType.PONG: Input.PONG,
    PacketType.MESSAGE: Input.MESSAGE,
    PacketType.UPGRADE: Input.IDLE,
    PacketType.NOOP: Input.IDLE,
}
"""What a packet on the transport in use means."""


def on_standby(data: bytes, binary: bool) -> Input:
    """What a message on a WebSocket standing by means."""
    if not binary and data == b"2probe":
        return Input.PROBE
    if not binary and data[:1] == b"5":
        return Input.COMMIT
    return Input.STRAY
