"""Every state of an Engine.IO session with every input, and any sequence of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.wire.engine_events import (
    Abort,
    Accept,
    AnswerPoll,
    Deliver,
    Ended,
    Forgotten,
    Input,
    Refuse,
    State,
    Write,
)
from happy.wire.engine_session import EngineSession
from happy.wire.engine_table import TABLE, on_standby
from happy.wire.engineio import encode_message
from tests.wire.sessions import (
    KICKED,
    SETTINGS,
    closed,
    draining,
    lingering,
    polling,
    post,
    probed,
    probing,
    upgraded,
)

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
        elif isinstance(effect, (AnswerPoll, Accept, Refuse, Abort)):
            assert effect.request not in self.answered, "answered twice"
            self.answered.append(effect.request)
        if isinstance(effect, (AnswerPoll, Write)):
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

    def proceed(self, detail: bytes) -> Sequence[Any]:
        return self.session.proceed(self.now)

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
    *("poll", "poll_lost", "post", "post_begun", "post_done", "proceed", "post_lost", "offer", "frame"),
    *("frame", "binary", "lose", "tick", "tick", "send", "send", "shut"),
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


@pytest.mark.parametrize(
    ("data", "binary", "meaning"),
    [
        (b"2probe", False, Input.PROBE),
        (b"2probe", True, Input.STRAY),
        (b"2", False, Input.STRAY),
        (b"5", False, Input.COMMIT),
        (b"5more", False, Input.COMMIT),
        (b"5", True, Input.STRAY),
        (b"", False, Input.STRAY),
    ],
)
def test_on_standby(data: bytes, binary: bool, meaning: Input) -> None:
    """A WebSocket that stands by probes and commits, in text."""
    assert on_standby(data, binary) is meaning
