"""Engine.IO sessions that move from polling to WebSocket."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from happy.wire.engine_events import (
    TRANSPORT_CLOSE,
    Accept,
    AnswerPoll,
    CloseWebSocket,
    Deliver,
    Ended,
    Refuse,
    State,
    Upgraded,
    Write,
)
from happy.wire.engine_session import EngineSession
from happy.wire.engineio import NOOP, PING, PROBE_ANSWER, EngineProblem
from tests.wire.sessions import (
    HELLO,
    WORLD,
    on_websocket,
    polling,
    post,
    probed,
    probing,
    upgraded,
)


class TestUpgrade:
    """A.7."""

    def test_probe_and_commit(self) -> None:
        """A probe is answered; after the commit everything goes over the WebSocket, in order."""
        session = polling()
        assert session.offer("ws", 0.0) == []
        assert session.received("ws", b"2probe", False, 0.0) == [Write("ws", (PROBE_ANSWER,))]
        session.send(HELLO)
        session.send(WORLD)
        assert session.transport == "polling"
        assert session.received("ws", b"5", False, 0.0) == [Upgraded("ws"), Write("ws", (HELLO, WORLD))]
        assert session.transport == "websocket"
        assert session.send(HELLO) == [Write("ws", (HELLO,))]

    def test_messages_keep_flowing_over_polling(self) -> None:
        """Until the commit, polls and posts work as before."""
        session = probed()
        session.poll("get", 0.0)
        assert session.send(HELLO) == [AnswerPoll("get", (HELLO,))]
        assert post(session, b"4x") == [Deliver(b"x", False), Accept("post")]

    def test_polls_are_released(self) -> None:
        """Every 100 ms after the probe a held poll is answered with a noop alone."""
        session = probed()
        assert session.next_deadline == pytest.approx(0.1)
        session.poll("first", 0.05)
        assert session.tick(0.1) == [AnswerPoll("first", (NOOP,))]
        assert session.tick(0.2) == []
        session.poll("second", 0.25)
        assert session.tick(0.31) == [AnswerPoll("second", (NOOP,))]

    def test_commit_without_probe(self) -> None:
        """A commit is a commit."""
        assert probing().received("ws", b"5", False, 0.0) == [Upgraded("ws")]

    def test_held_poll_at_commit(self) -> None:
        """A poll still held at the commit came over the wrong transport."""
        session = probed()
        session.poll("get", 0.0)
        assert session.received("ws", b"5", False, 0.0) == [
            Refuse("get", EngineProblem.BAD_REQUEST),
            Upgraded("ws"),
        ]

    @pytest.mark.parametrize("data", [b"2", b"2prob", b"4hello", b"1", b"6", b"", b"zzz"])
    @pytest.mark.parametrize("start", [probing, probed])
    def test_strays(self, start: Callable[[], EngineSession], data: bytes) -> None:
        """Anything else closes the WebSocket, and polling lives on."""
        session = start()
        assert session.received("ws", data, False, 0.0) == [CloseWebSocket("ws")]
        assert session.state is State.POLLING
        assert session.send(HELLO) == []
        assert session.next_deadline == 15.0

    def test_binary_stray(self) -> None:
        """A binary frame is no probe, whatever is in it."""
        assert probing().received("ws", b"2probe", True, 0.0) == [CloseWebSocket("ws")]

    @pytest.mark.parametrize("start", [probing, probed])
    def test_timeout(self, start: Callable[[], EngineSession]) -> None:
        """Without a commit in time the WebSocket is closed, and polling lives on."""
        session = start()
        assert session.tick(9.9) == []
        assert session.tick(10.0) == [CloseWebSocket("ws")]
        assert session.state is State.POLLING

    def test_lost_candidate(self) -> None:
        """Losing the WebSocket before the commit means nothing; another may try."""
        session = probed()
        assert session.websocket_lost("ws", 0.0, clean=False) == []
        assert session.offer("other", 0.0) == []
        assert session.received("other", b"5", False, 0.0) == [Upgraded("other")]

    @pytest.mark.parametrize("start", [probing, probed, upgraded, on_websocket])
    def test_second_websocket(self, start: Callable[[], EngineSession]) -> None:
        """A session takes no other WebSocket than its own: a sid must not be enough to hijack it."""
        session = start()
        before = session.state
        assert session.offer("other", 0.0) == [CloseWebSocket("other")]
        assert session.received("other", b"2probe", False, 0.0) == []
        assert session.websocket_lost("other", 0.0, clean=True) == []
        assert session.state is before

    def test_heartbeat_starts_anew_at_commit(self) -> None:
        """A pong lost across the switch does not end the session, and pings go on."""
        session = polling()
        session.offer("ws", 14.0)
        session.tick(15.0)
        session.received("ws", b"5", False, 16.0)
        assert session.next_deadline == 31.0
        assert session.tick(31.0) == [Write("ws", (PING,))]

    def test_end_while_upgrading(self) -> None:
        """Whatever ends polling takes the WebSocket standing by with it."""
        assert post(probed(), b"1") == [CloseWebSocket("ws"), Ended(TRANSPORT_CLOSE), Accept("post")]
