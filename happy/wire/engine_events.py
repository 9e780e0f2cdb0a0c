"""What can happen to an Engine.IO session, and what the session asks its driver to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from happy.wire.engineio import EncodedPacket, EngineProblem

TRANSPORT_CLOSE: Final = "transport close"
TRANSPORT_ERROR: Final = "transport error"
PING_TIMEOUT: Final = "ping timeout"
PARSE_ERROR: Final = "parse error"


class State(Enum):
    """Where a session is in its life."""

    POLLING = auto()
    PROBING = auto()
    """On polling; a WebSocket stands by and has not said anything."""

    PROBED = auto()
    """On polling; the WebSocket was probed, and polls are released so that the client can switch."""

    WEBSOCKET = auto()
    DRAINING = auto()
    """The server closed, but a polling client has yet to fetch what is queued for it, and the news."""

    LINGERING = auto()
    """A polling client closed; the poll that it may have sent at the same time still ends well."""

    CLOSED = auto()


class Input(Enum):
    """What can happen to a session."""

    POLL = auto()
    EXTRA_POLL = auto()
    """A poll while another is held."""

    POLL_LOST = auto()
    POST = auto()
    EXTRA_POST = auto()
    """A post while another is arriving or being worked through."""

    POST_LOST = auto()
    OFFER = auto()
    """A WebSocket names this session."""

    PROBE = auto()
    COMMIT = auto()
    STRAY = auto()
    """Anything else on the WebSocket standing by, or a commit while a payload is being worked through."""

    CANDIDATE_LOST = auto()
    MESSAGE = auto()
    PONG = auto()
    PING = auto()
    CLOSE = auto()
    CLOSE_POLLED = auto()
    """The client closes by POST while its own poll is held."""

    IDLE = auto()
    """A packet without effect: open, upgrade or noop."""

    GARBAGE = auto()
    LOST = auto()
    """The WebSocket in use was closed in due form."""

    FAILED = auto()
    """The WebSocket in use broke off, or its client broke the protocol."""

    SEND = auto()
    SHUT = auto()
    SHUT_POLLED = auto()
    """The server closes while a poll is held."""

    BREAK = auto()
    """The driver gives the client up: too much is queued for it, or its request is not acceptable."""

    PING_DUE = auto()
    PONG_DUE = auto()
    UPGRADE_DUE = auto()
    NOOP_DUE = auto()
    FORGET_DUE = auto()


@dataclass(frozen=True, slots=True)
class AnswerPoll:
    """Answer a GET with packets: 200."""

    request: Any
    packets: tuple[EncodedPacket, ...]


@dataclass(frozen=True, slots=True)
class Accept:
    """Answer a POST: 200 ``ok``."""

    request: Any


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer a request with a problem; without one, 400 and an empty body."""

    request: Any
    problem: EngineProblem | None


@dataclass(frozen=True, slots=True)
class Abort:
    """Cut the connection of a request without an answer."""

    request: Any


@dataclass(frozen=True, slots=True)
class Write:
    """Send packets on a WebSocket."""

    websocket: Any
    packets: tuple[EncodedPacket, ...]


@dataclass(frozen=True, slots=True)
class CloseWebSocket:
    """Send what was written, then a close frame without status code."""

    websocket: Any


@dataclass(frozen=True, slots=True)
class Deliver:
    """A message from the client."""

    data: bytes
    binary: bool


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The session is on this WebSocket now, and no longer on polling."""

    websocket: Any


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over for the program on top; happens once."""

    reason: str


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Nothing knows the session's id any more; happens once, and last."""


Effect = (
    AnswerPoll | Accept | Refuse | Abort | Write | CloseWebSocket | Deliver | Upgraded | Ended | Forgotten
)
