"""The rules of an Engine.IO session, one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from happy.wire.engine_events import (
    PARSE_ERROR,
    PING_TIMEOUT,
    TRANSPORT_CLOSE,
    TRANSPORT_ERROR,
    Abort,
    Accept,
    AnswerPoll,
    CloseWebSocket,
    Deliver,
    Ended,
    Forgotten,
    Refuse,
    State,
    Write,
)
from happy.wire.engine_session import EngineSession
from happy.wire.engineio import CLOSE, NOOP, PACKET_BYTES, PING, EngineProblem
from tests.wire.sessions import (
    HELLO,
    KICKED,
    SETTINGS,
    WORLD,
    draining,
    ending,
    lingering,
    on_websocket,
    polling,
    post,
    upgraded,
)


class TestPolling:
    """A.4."""

    def test_handshake(self) -> None:
        """The first GET is answered with nothing but the open packet, which offers the upgrade."""
        [answer] = EngineSession("sid", SETTINGS, 0.0).open_polling("get")
        assert answer.request == "get"
        assert [packet.text[:37] for packet in answer.packets] == [b'0{"sid":"sid","upgrades":["websocket"']

    def test_poll_waits_for_a_packet(self) -> None:
        """A poll is held until something is queued."""
        session = polling()
        assert session.poll("get", 0.0) == []
        assert session.send(HELLO) == [AnswerPoll("get", (HELLO,))]

    def test_poll_takes_all_that_is_queued(self) -> None:
        """A poll is answered at once with everything so far, and the queue is empty then."""
        session = polling()
        session.send(HELLO)
        session.send(WORLD)
        assert session.queued_bytes == len(HELLO.frames) + len(WORLD.frames) + 2 * PACKET_BYTES
        assert session.poll("get", 0.0) == [AnswerPoll("get", (HELLO, WORLD))]
        assert session.queued_bytes == 0

    def test_overlapping_polls(self) -> None:
        """The held poll hears the close packet, the new one gets an empty 400, the session is over."""
        session = polling()
        session.poll("first", 0.0)
        effects = session.poll("second", 0.0)
        assert effects == [
            AnswerPoll("first", (CLOSE,)),
            Ended(TRANSPORT_ERROR),
            Forgotten(),
            Refuse("second", None),
        ]

    def test_lost_poll(self) -> None:
        """A client that drops its poll is gone."""
        session = polling()
        session.poll("get", 0.0)
        assert session.poll_lost("get", 0.0) == [Ended(TRANSPORT_ERROR), Forgotten()]

    def test_answered_poll_may_break(self) -> None:
        """A connection that breaks after its poll was answered means nothing."""
        session = polling()
        session.send(HELLO)
        session.poll("get", 0.0)
        assert session.poll_lost("get", 0.0) == []
        assert session.state is State.POLLING

    def test_post(self) -> None:
        """Messages of a body are delivered in order, and the POST is accepted."""
        assert post(polling(), b"4a\x1ebAQI=\x1e6\x1e4b") == [
            Deliver(b"a", False),
            Deliver(b"\1\2", True),
            Deliver(b"b", False),
            Accept("post"),
        ]

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"4a\x1eabc\x1e4b", PARSE_ERROR),
            (b"4a\x1e", PARSE_ERROR),
            (b"4a\x1e2\x1e4b", TRANSPORT_ERROR),
            (b"4a\x1e2probe", TRANSPORT_ERROR),
        ],
    )
    def test_bad_bodies_are_accepted_and_end_the_session(self, body: bytes, reason: str) -> None:
        """Garbage and a client's ping end the session; the rest of the body is dropped; still 200."""
        session = polling()
        session.poll("get", 0.0)
        assert post(session, body) == [
            Deliver(b"a", False),
            AnswerPoll("get", (CLOSE,)),
            Ended(reason),
            Forgotten(),
            Accept("post"),
        ]

    def test_empty_body(self) -> None:
        """An empty body holds one empty packet, which is none."""
        assert ending(post(polling(), b"")) == [PARSE_ERROR]

    def test_overlapping_posts(self) -> None:
        """The second gets an empty 400, the first is cut off, the session is over."""
        session = polling()
        session.post_begun("first", 0.0)
        assert session.post_begun("second", 0.0) == [
            Refuse("second", None),
            Abort("first"),
            Ended(TRANSPORT_ERROR),
            Forgotten(),
        ]

    def test_lost_post(self) -> None:
        """A client that drops a POST half way is gone."""
        session = polling()
        session.post_begun("post", 0.0)
        assert ending(session.post_lost("post", 0.0)) == [TRANSPORT_ERROR]

    def test_refused_post(self) -> None:
        """A POST that the driver refuses by itself leaves room for another."""
        session = polling()
        session.post_begun("large", 0.0)
        session.post_refused("large")
        assert post(session, b"4a") == [Deliver(b"a", False), Accept("post")]


class TestHeartbeat:
    """A.6."""

    def test_ping_goes_out_after_the_interval(self) -> None:
        """The first ping is due one interval after the start, and not before."""
        session = on_websocket(100.0)
        assert session.next_deadline == 115.0
        assert session.tick(114.9) == []
        assert session.tick(115.0) == [Write("ws", (PING,))]
        assert session.next_deadline == 160.0

    def test_delays_do_not_add_up(self) -> None:
        """After a ping that is a little late the pong is due as after a punctual one."""
        session = on_websocket()
        session.tick(15.04)
        assert session.next_deadline == 60.0
        session = on_websocket()
        session.tick(20.0)
        assert session.next_deadline == 65.0

    def test_pong_starts_a_whole_interval(self) -> None:
        """The next ping is due one interval after the pong, not on a fixed grid."""
        session = on_websocket()
        session.tick(15.0)
        session.received("ws", b"3", False, 22.0)
        assert session.next_deadline == 37.0

    def test_unsolicited_pong_restarts_the_interval(self) -> None:
        """A pong that nobody asked for counts too, whatever it carries."""
        session = on_websocket()
        session.received("ws", b"3anything", False, 5.0)
        assert session.next_deadline == 20.0

    def test_other_traffic_is_no_pong(self) -> None:
        """Only a pong keeps a session alive."""
        session = on_websocket()
        session.tick(15.0)
        session.received("ws", b"4hello", False, 20.0)
        assert session.tick(60.0) == [CloseWebSocket("ws"), Ended(PING_TIMEOUT), Forgotten()]

    def test_pong_is_due_even_if_no_poll_carried_the_ping(self) -> None:
        """The pong is due from when the ping was queued; a held poll hears the close packet."""
        session = polling()
        session.tick(15.0)
        assert session.tick(60.0) == [Ended(PING_TIMEOUT), Forgotten()]
        session = polling()
        session.poll("first", 0.0)
        assert session.tick(15.0) == [AnswerPoll("first", (PING,))]
        session.poll("second", 15.0)
        assert session.tick(60.0) == [AnswerPoll("second", (CLOSE,)), Ended(PING_TIMEOUT), Forgotten()]

    def test_ping_from_the_client(self) -> None:
        """Pings have one direction."""
        assert on_websocket().received("ws", b"2", False, 1.0) == [
            CloseWebSocket("ws"),
            Ended(TRANSPORT_ERROR),
            Forgotten(),
        ]


class TestWebSocket:
    """A.5."""

    def test_handshake(self) -> None:
        """The open packet comes first and offers no upgrade."""
        [write] = EngineSession("sid", SETTINGS, 0.0).open_websocket("ws")
        assert write.websocket == "ws"
        assert write.packets[0].text.startswith(b'0{"sid":"sid","upgrades":[],')

    def test_messages(self) -> None:
        """A text frame of type 4 and any binary frame are messages; base64 in text too."""
        session = on_websocket()
        assert session.received("ws", b"4hi", False, 0.0) == [Deliver(b"hi", False)]
        assert session.received("ws", b"4hi", True, 0.0) == [Deliver(b"4hi", True)]
        assert session.received("ws", b"bAQI=", False, 0.0) == [Deliver(b"\1\2", True)]

    @pytest.mark.parametrize("packet", [b"0", b"5", b"6", b"0{}"])
    def test_packets_without_effect(self, packet: bytes) -> None:
        """Open, upgrade and noop packets are taken and change nothing."""
        session = on_websocket()
        assert session.received("ws", packet, False, 3.0) == []
        assert session.next_deadline == 15.0

    def test_client_close(self) -> None:
        """A close packet closes at once."""
        assert on_websocket().received("ws", b"1", False, 0.0) == [
            CloseWebSocket("ws"),
            Ended(TRANSPORT_CLOSE),
            Forgotten(),
        ]

    @pytest.mark.parametrize("packet", [b"", b"abc", b"7", b"bA"])
    def test_garbage(self, packet: bytes) -> None:
        """What is no packet ends the session."""
        assert ending(on_websocket().received("ws", packet, False, 0.0)) == [PARSE_ERROR]

    @pytest.mark.parametrize(("clean", "reason"), [(True, TRANSPORT_CLOSE), (False, TRANSPORT_ERROR)])
    def test_lost(self, clean: bool, reason: str) -> None:
        """A WebSocket closed in due form ends otherwise than one that broke."""
        assert on_websocket().websocket_lost("ws", 0.0, clean=clean) == [Ended(reason), Forgotten()]

    def test_polling_requests(self) -> None:
        """Polling is over: its requests are bad ones."""
        session = upgraded()
        assert session.poll("get", 0.0) == [Refuse("get", EngineProblem.BAD_REQUEST)]
        assert post(session, b"4x") == [Refuse("post", EngineProblem.BAD_REQUEST)]

    def test_server_close(self) -> None:
        """No close packet is sent, just the frame layer's close."""
        assert on_websocket().shut(KICKED, 0.0) == [CloseWebSocket("ws"), Ended(KICKED), Forgotten()]


class TestClosing:
    """A.10 and A.15."""

    def test_client_close_with_a_held_poll(self) -> None:
        """The held poll is answered with a noop, the POST with ok."""
        session = polling()
        session.poll("get", 0.0)
        assert post(session, b"1") == [
            AnswerPoll("get", (NOOP,)),
            Ended(TRANSPORT_CLOSE),
            Forgotten(),
            Accept("post"),
        ]

    def test_poll_that_crosses_the_clients_close(self) -> None:
        """The first poll within 100 ms of a close still gets its noop; the sid means nothing then."""
        session = polling()
        assert post(session, b"1") == [Ended(TRANSPORT_CLOSE), Accept("post")]
        assert session.poll("get", 0.09) == [AnswerPoll("get", (NOOP,)), Forgotten()]
        assert session.poll("late", 0.09) == [Refuse("late", EngineProblem.UNKNOWN_SID)]

    def test_grace_ends(self) -> None:
        """After 100 ms the session is forgotten."""
        assert lingering().tick(0.1) == [Forgotten()]

    def test_posts_after_the_clients_close(self) -> None:
        """Only a poll may still come."""
        assert post(lingering(), b"4x") == [Refuse("post", EngineProblem.UNKNOWN_SID)]

    def test_server_close_with_a_held_poll(self) -> None:
        """The held poll hears the close packet."""
        session = polling()
        session.poll("get", 0.0)
        assert session.shut(KICKED, 0.0) == [AnswerPoll("get", (CLOSE,)), Ended(KICKED), Forgotten()]

    def test_server_close_without_poll_is_remembered(self) -> None:
        """For 30 s the next poll hears of it; posts are accepted and ignored."""
        session = polling()
        assert session.shut(KICKED, 0.0) == [Ended(KICKED)]
        assert post(session, b"4x") == [Accept("post")]
        assert session.poll("get", 29.0) == [AnswerPoll("get", (NOOP, CLOSE)), Forgotten()]

    def test_queued_packets_come_before_the_close(self) -> None:
        """What was queued is not lost by closing."""
        session = polling()
        session.send(HELLO)
        session.shut(KICKED, 0.0)
        assert session.poll("get", 1.0) == [AnswerPoll("get", (HELLO, CLOSE)), Forgotten()]

    def test_memory_of_a_close_ends(self) -> None:
        """After 30 s nobody knows the session."""
        session = draining()
        assert session.next_deadline == 30.0
        assert session.tick(30.0) == [Forgotten()]
        assert session.next_deadline is None

    @pytest.mark.parametrize("start", [polling, on_websocket])
    def test_break(self, start: Callable[[], EngineSession]) -> None:
        """A client given up is gone at once, whatever is queued."""
        session = start()
        session.send(HELLO)
        assert ending(session.break_off(0.0)) == [TRANSPORT_ERROR]
        assert session.state is State.CLOSED
        assert session.queued_bytes == 0
