"""The Engine.IO session machine: the rules one by one, and every state with every input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.wire.engine_events import (
    PARSE_ERROR,
    PING_TIMEOUT,
    TRANSPORT_CLOSE,
    TRANSPORT_ERROR,
    Abort,
    Accept,
    Answer,
    CloseWebSocket,
    Deliver,
    Ended,
    Forgotten,
    Input,
    Refuse,
    State,
    Upgraded,
    Write,
)
from happy.wire.engine_session import EngineSession
from happy.wire.engine_table import TABLE
from happy.wire.engineio import CLOSE, NOOP, PING, PROBE_ANSWER, EngineSettings, Problem, encode_message

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
    """A whole POST."""
    return [*session.post_begun(request, now), *session.post(request, body, now)]


def ending(effects: Sequence[Any]) -> list[str]:
    """The reasons that effects give for an end."""
    return [effect.reason for effect in effects if isinstance(effect, Ended)]


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
        assert session.send(HELLO) == [Answer("get", (HELLO,))]

    def test_poll_takes_all_that_is_queued(self) -> None:
        """A poll is answered at once with everything so far, and the queue is empty then."""
        session = polling()
        session.send(HELLO)
        session.send(WORLD)
        assert session.queued_bytes == len(HELLO.frames) + len(WORLD.frames)
        assert session.poll("get", 0.0) == [Answer("get", (HELLO, WORLD))]
        assert session.queued_bytes == 0

    def test_overlapping_polls(self) -> None:
        """The held poll hears the close packet, the new one gets an empty 400, the session is over."""
        session = polling()
        session.poll("first", 0.0)
        effects = session.poll("second", 0.0)
        assert effects == [
            Answer("first", (CLOSE,)),
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
            Answer("get", (CLOSE,)),
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
        assert session.tick(15.0) == [Answer("first", (PING,))]
        session.poll("second", 15.0)
        assert session.tick(60.0) == [Answer("second", (CLOSE,)), Ended(PING_TIMEOUT), Forgotten()]

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
        assert session.poll("get", 0.0) == [Refuse("get", Problem.BAD_REQUEST)]
        assert post(session, b"4x") == [Refuse("post", Problem.BAD_REQUEST)]

    def test_server_close(self) -> None:
        """No close packet is sent, just the frame layer's close."""
        assert on_websocket().shut(KICKED, 0.0) == [CloseWebSocket("ws"), Ended(KICKED), Forgotten()]


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
        assert session.send(HELLO) == [Answer("get", (HELLO,))]
        assert post(session, b"4x") == [Deliver(b"x", False), Accept("post")]

    def test_polls_are_released(self) -> None:
        """Every 100 ms after the probe a held poll is answered with a noop alone."""
        session = probed()
        assert session.next_deadline == pytest.approx(0.1)
        session.poll("first", 0.05)
        assert session.tick(0.1) == [Answer("first", (NOOP,))]
        assert session.tick(0.2) == []
        session.poll("second", 0.25)
        assert session.tick(0.31) == [Answer("second", (NOOP,))]

    def test_commit_without_probe(self) -> None:
        """A commit is a commit."""
        assert probing().received("ws", b"5", False, 0.0) == [Upgraded("ws")]

    def test_held_poll_at_commit(self) -> None:
        """A poll still held at the commit came over the wrong transport."""
        session = probed()
        session.poll("get", 0.0)
        assert session.received("ws", b"5", False, 0.0) == [
            Refuse("get", Problem.BAD_REQUEST),
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


class TestClosing:
    """A.10 and A.15."""

    def test_client_close_with_a_held_poll(self) -> None:
        """The held poll is answered with a noop, the POST with ok."""
        session = polling()
        session.poll("get", 0.0)
        assert post(session, b"1") == [
            Answer("get", (NOOP,)),
            Ended(TRANSPORT_CLOSE),
            Forgotten(),
            Accept("post"),
        ]

    def test_poll_that_crosses_the_clients_close(self) -> None:
        """The first poll within 100 ms of a close still gets its noop; the sid means nothing then."""
        session = polling()
        assert post(session, b"1") == [Ended(TRANSPORT_CLOSE), Accept("post")]
        assert session.poll("get", 0.09) == [Answer("get", (NOOP,)), Forgotten()]
        assert session.poll("late", 0.09) == [Refuse("late", Problem.UNKNOWN_SID)]

    def test_grace_ends(self) -> None:
        """After 100 ms the session is forgotten."""
        assert lingering().tick(0.1) == [Forgotten()]

    def test_posts_after_the_clients_close(self) -> None:
        """Only a poll may still come."""
        assert post(lingering(), b"4x") == [Refuse("post", Problem.UNKNOWN_SID)]

    def test_server_close_with_a_held_poll(self) -> None:
        """The held poll hears the close packet."""
        session = polling()
        session.poll("get", 0.0)
        assert session.shut(KICKED, 0.0) == [Answer("get", (CLOSE,)), Ended(KICKED), Forgotten()]

    def test_server_close_without_poll_is_remembered(self) -> None:
        """For 30 s the next poll hears of it; posts are accepted and ignored."""
        session = polling()
        assert session.shut(KICKED, 0.0) == [Ended(KICKED)]
        assert post(session, b"4x") == [Accept("post")]
        assert session.poll("get", 29.0) == [Answer("get", (NOOP, CLOSE)), Forgotten()]

    def test_queued_packets_come_before_the_close(self) -> None:
        """What was queued is not lost by closing."""
        session = polling()
        session.send(HELLO)
        session.shut(KICKED, 0.0)
        assert session.poll("get", 1.0) == [Answer("get", (HELLO, CLOSE)), Forgotten()]

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


STARTS: dict[State, Callable[[], EngineSession]] = {
    State.POLLING: polling,
    State.PROBING: probing,
    State.PROBED: probed,
    State.WEBSOCKET: upgraded,
    State.DRAINING: draining,
    State.LINGERING: lingering,
    State.CLOSED: closed,
}

numbers = count()
Operation = Callable[[EngineSession], Sequence[Any]]


def _held(after: Operation) -> Operation:
    """The operation, with a poll held before."""
    return lambda session: [*session.poll(object(), 0.0), *after(session)]


OPERATIONS: dict[Input, Operation] = {
    Input.POLL: lambda session: session.poll(object(), 0.0),
    Input.EXTRA_POLL: _held(lambda session: session.poll(object(), 0.0)),
    Input.POLL_LOST: lambda session: [*session.poll("held", 0.0), *session.poll_lost("held", 0.0)],
    Input.POST: lambda session: post(session, b"4x", request=object()),
    Input.EXTRA_POST: lambda session: [*session.post_begun("a", 0.0), *session.post_begun("b", 0.0)],
    Input.POST_LOST: lambda session: [*session.post_begun("a", 0.0), *session.post_lost("a", 0.0)],
    Input.OFFER: lambda session: session.offer("other", 0.0),
    Input.PROBE: lambda session: session.received("ws", b"2probe", False, 0.0),
    Input.COMMIT: lambda session: session.received("ws", b"5", False, 0.0),
    Input.STRAY: lambda session: session.received("ws", b"stray", True, 0.0),
    Input.CANDIDATE_LOST: lambda session: session.websocket_lost("ws", 0.0, clean=True),
    Input.MESSAGE: lambda session: [
        *session.received("ws", b"4", False, 0.0),
        *post(session, b"4", request=object()),
    ],
    Input.PONG: lambda session: [
        *session.received("ws", b"3", False, 0.0),
        *post(session, b"3", request=object()),
    ],
    Input.PING: lambda session: post(session, b"2", request=object()),
    Input.CLOSE: lambda session: post(session, b"1", request=object()),
    Input.CLOSE_POLLED: _held(lambda session: post(session, b"1", request=object())),
    Input.IDLE: lambda session: post(session, b"6", request=object()),
    Input.GARBAGE: lambda session: post(session, b"garbage", request=object()),
    Input.LOST: lambda session: session.websocket_lost("ws", 0.0, clean=True),
    Input.FAILED: lambda session: session.websocket_lost("ws", 0.0, clean=False),
    Input.SEND: lambda session: session.send(encode_message(b"%d" % next(numbers))),
    Input.SHUT: lambda session: session.shut(KICKED, 0.0),
    Input.SHUT_POLLED: _held(lambda session: session.shut(KICKED, 0.0)),
    Input.BREAK: lambda session: session.break_off(0.0),
    Input.PING_DUE: lambda session: session.tick(15.0),
    Input.PONG_DUE: lambda session: [*session.tick(15.0), *session.tick(60.0)],
    Input.UPGRADE_DUE: lambda session: session.tick(10.0),
    Input.NOOP_DUE: lambda session: session.tick(0.1),
    Input.FORGET_DUE: lambda session: session.tick(30.0),
}


def test_every_input_has_an_operation() -> None:
    """The operations below leave nothing out."""
    assert set(OPERATIONS) == set(Input)
    assert set(STARTS) == set(State) == set(TABLE)
    assert all(STARTS[state]().state is state for state in State)


def test_actions_exist() -> None:
    """Each action that the table names is a method of the session."""
    named = {action for row in TABLE.values() for _, action, *_ in row.values()}
    assert all(callable(getattr(EngineSession, action)) for action in named)


@pytest.mark.parametrize("happened", Input)
@pytest.mark.parametrize("state", State)
def test_every_state_with_every_input(state: State, happened: Input) -> None:
    """Whatever happens in whatever state, the books balance."""
    session = STARTS[state]()
    books = Books(session)
    books.settle(OPERATIONS[happened](session))


class Books:
    """Follows a session from outside and checks what must hold whatever happens."""

    def __init__(self, session: EngineSession) -> None:
        self.session = session
        self.over = session.state in (State.DRAINING, State.LINGERING, State.CLOSED)
        self.forgotten = session.state is State.CLOSED
        self.answered: list[Any] = []
        self.heard: list[bytes] = []

    def settle(self, effects: Sequence[Any]) -> None:
        """Take effects into account."""
        for effect in effects:
            self._enter(effect)
        assert self.forgotten == (self.session.state is State.CLOSED)
        assert self.over == (self.session.state in (State.DRAINING, State.LINGERING, State.CLOSED))
        assert (self.session.next_deadline is None) == self.forgotten
        assert not self.over or self.session.state is State.DRAINING or self.session.queued_bytes == 0

    def _enter(self, effect: Any) -> None:
        if isinstance(effect, Ended):
            assert not self.over, "ended twice"
            self.over = True
        elif isinstance(effect, Forgotten):
            assert self.over, "forgotten before the end"
            assert not self.forgotten, "forgotten twice"
            self.forgotten = True
        elif isinstance(effect, Deliver):
            assert not self.over, "a message after the end"
        elif isinstance(effect, (Answer, Accept, Refuse, Abort)):
            assert effect.request not in self.answered, "answered twice"
            self.answered.append(effect.request)
        if isinstance(effect, (Answer, Write)):
            self.heard += [packet.text[1:] for packet in effect.packets if packet.text[:1] == b"4"]


class Client:
    """Any client at all: takes the steps that hypothesis picks, and keeps the books."""

    def __init__(self, websocket_first: bool) -> None:
        self.now = 0.0
        self.names = count()
        self.session = EngineSession("sid", SETTINGS, 0.0)
        self.books = Books(self.session)
        self.polls: list[str] = []
        self.posts: list[str] = []
        self.websockets: list[str] = []
        self.sent: list[bytes] = []
        if websocket_first:
            self.websockets.append("ws")
            self.books.settle(self.session.open_websocket("ws"))
        else:
            self.books.settle(self.session.open_polling("handshake"))

    def name(self, kind: str) -> str:
        return f"{kind}{next(self.names)}"

    def step(self, what: str, detail: bytes, seconds: float) -> None:
        """Take one step; it concerns the newest poll, post or WebSocket."""
        self.now += seconds
        self.books.settle(getattr(self, what)(detail))

    def poll(self, detail: bytes) -> Sequence[Any]:
        self.polls.append(self.name("poll"))
        return self.session.poll(self.polls[-1], self.now)

    def poll_lost(self, detail: bytes) -> Sequence[Any]:
        return self.session.poll_lost(self.polls[-1], self.now) if self.polls else ()

    def post(self, detail: bytes) -> Sequence[Any]:
        request = self.name("post")
        effects = post(self.session, detail, self.now, request)
        assert any(getattr(effect, "request", None) == request for effect in effects), "left unanswered"
        return effects

    def post_begun(self, detail: bytes) -> Sequence[Any]:
        self.posts.append(self.name("post"))
        return self.session.post_begun(self.posts[-1], self.now)

    def post_done(self, detail: bytes) -> Sequence[Any]:
        return self.session.post(self.posts.pop(), detail, self.now) if self.posts else ()

    def post_lost(self, detail: bytes) -> Sequence[Any]:
        return self.session.post_lost(self.posts.pop(), self.now) if self.posts else ()

    def offer(self, detail: bytes) -> Sequence[Any]:
        self.websockets.append(self.name("ws"))
        return self.session.offer(self.websockets[-1], self.now)

    def frame(self, detail: bytes) -> Sequence[Any]:
        return self.session.received(self.websockets[-1], detail, False, self.now) if self.websockets else ()

    def binary(self, detail: bytes) -> Sequence[Any]:
        return self.session.received(self.websockets[0], detail, True, self.now) if self.websockets else ()

    def lose(self, detail: bytes) -> Sequence[Any]:
        if not self.websockets:
            return ()
        return self.session.websocket_lost(self.websockets.pop(), self.now, clean=bool(detail))

    def tick(self, detail: bytes) -> Sequence[Any]:
        return self.session.tick(self.now)

    def send(self, detail: bytes) -> Sequence[Any]:
        self.sent.append(b"%d" % next(self.names))
        return self.session.send(encode_message(self.sent[-1]))

    def shut(self, detail: bytes) -> Sequence[Any]:
        return self.session.shut(KICKED, self.now)


STEPS = (
    *("poll", "poll_lost", "post", "post_begun", "post_done", "post_lost", "offer", "frame", "frame"),
    *("binary", "lose", "tick", "tick", "send", "send", "shut"),
)
steps = st.tuples(
    st.sampled_from(STEPS),
    st.sampled_from([b"4a", b"4a\x1e4b", b"3", b"2", b"1", b"6", b"2probe", b"5", b"", b"junk", b"bAQI="]),
    st.sampled_from([0.0, 0.0, 0.05, 0.1, 5.0, 15.0, 45.0]),
)


@given(st.booleans(), st.lists(steps, max_size=40))
@settings(max_examples=200)
def test_any_sequence(websocket_first: bool, taken: list[tuple[str, bytes, float]]) -> None:
    """Nothing is answered twice or delivered after the end, and what is sent arrives once and in order."""
    client = Client(websocket_first)
    for what, detail, seconds in taken:
        client.step(what, detail, seconds)
    heard = client.books.heard
    assert heard == client.sent[: len(heard)]
    if not client.books.over:
        missing = client.sent[len(heard) :]
        assert client.session.queued_bytes >= sum(len(text) for text in missing)
        assert not missing or client.session.transport == "polling"
