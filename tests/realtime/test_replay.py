"""The logs that clients are caught up from: what they hold, and when they own up to holes."""

from __future__ import annotations

import json

import pytest
from twisted.internet.task import Clock

from happy.realtime import replay as module
from happy.realtime.replay import KEPT_SECONDS, OVERHEAD, SWEEP_SECONDS, Replay
from happy.realtime.updates import Scope, devices_of, watchers_of_machine, watchers_of_session
from tests.socketio.peers import TurningClock

DEVICES = devices_of("a")


class Log:
    """A replay, and the offsets that it gave."""

    def __init__(self, account_bytes: int = module.ACCOUNT_BYTES, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.replay = Replay(self.clock, account_bytes)

    def record(
        self, audience: object = DEVICES, skip: str | None = None, state: object = None, text: bytes = b"{}"
    ) -> str:
        """Record an event; its offset."""
        packet = self.replay.record(audience, "update", text, skip, state)  # type: ignore[arg-type]
        name, _, offset = json.loads(packet.text[2:])
        assert name == "update"
        return str(offset)

    def missed(
        self, offset: str, since: int = 0, scope: Scope = Scope.USER, subject: str = "", account: str = "a"
    ) -> list[str] | None:
        """The offsets of what was missed."""
        heard = self.replay.heard(account, offset)
        if heard is None:
            return None
        packets = self.replay.missed(account, max(heard, since), scope, subject, "me")
        return None if packets is None else [json.loads(packet.text[2:])[-1] for packet in packets]


def test_what_came_after() -> None:
    """What was told after the offset is there, in order, and nothing else."""
    log = Log()
    offsets = [log.record() for _ in range(4)]
    assert [log.missed(offset) for offset in offsets] == [offsets[1:], offsets[2:], offsets[3:], []]


def test_not_before_it_joined() -> None:
    """An offset that a client kept from a former life does not bring up what was before this one."""
    log = Log()
    offsets = [log.record() for _ in range(4)]
    assert log.missed(offsets[0], since=2) == offsets[2:]


def test_rooms_and_senders() -> None:
    """A client misses what its scope watches and others sent."""
    log = Log()
    first = log.record()
    session, machine = log.record(watchers_of_session("a", "x")), log.record(watchers_of_machine("a", "x"))
    own, other = log.record(skip="me"), log.record(skip="you")
    assert log.missed(first) == [session, machine, other]
    assert log.missed(first, scope=Scope.SESSION, subject="x") == [session]
    assert log.missed(first, scope=Scope.MACHINE, subject="x") == [machine]
    assert log.missed(own, scope=Scope.SESSION, subject="x") == []


@pytest.mark.parametrize("change", ["", "1", "-1", "0", "\0", "x", "٣", "9" * 5000])
def test_foreign_offsets(change: str) -> None:
    """An offset that this log never gave means nothing."""
    log = Log()
    offset = log.record()
    for wrong in (offset + change if change else change, change + offset, offset.rpartition("-")[0] + change):
        assert wrong == offset or log.missed(wrong) is None, wrong
    assert log.missed(offset, account="b") is None
    assert Log().missed(offset) is None


def test_each_log_has_its_name() -> None:
    """Offsets of two accounts, or of an account's log and its next one, cannot be confused."""
    log = Log()
    mine, theirs = log.record(), log.record(devices_of("b"))
    assert log.missed(theirs) is None
    log.replay.leave("a")
    log.record()
    assert log.missed(mine) is None


def test_states() -> None:
    """Of signals that tell the state of one thing, the last stays, in its place."""
    log = Log()
    first = log.record()
    log.record(state="x")
    between = log.record()
    other, last = log.record(state="y"), log.record(state="x")
    assert log.missed(first) == [between, other, last]
    assert log.missed(between) == [other, last]
    assert log.missed(last) == []


def test_age() -> None:
    """After two minutes an event is gone, and who had not heard it cannot be caught up."""
    log = Log()
    old, older = log.record(), log.record()
    log.clock.advance(KEPT_SECONDS / 2)
    young = log.record()
    assert log.missed(old) == [older, young]
    log.clock.pump([SWEEP_SECONDS] * int(KEPT_SECONDS / 2 / SWEEP_SECONDS + 1))
    assert log.missed(old) is None
    assert log.missed(older) == [young]
    log.clock.pump([SWEEP_SECONDS] * int(KEPT_SECONDS / SWEEP_SECONDS))
    assert log.missed(older) is None
    assert log.missed(young) == []
    assert log.replay.size == 0
    assert log.clock.getDelayedCalls() == []


def test_bytes_of_an_account() -> None:
    """A log holds so many bytes; the oldest events make room, even all of them."""
    log = Log(account_bytes=3 * (OVERHEAD + 100))
    offsets = [log.record() for _ in range(5)]
    assert log.missed(offsets[0]) is None
    assert log.missed(offsets[1]) == offsets[2:]
    large = log.record(text=b'"%s"' % (b"x" * 2000))
    assert log.missed(offsets[-1]) is None
    assert log.missed(large) == []
    assert log.replay.size == 0


def test_broken_off() -> None:
    """What was not told to everybody is never there again, whatever makes room or grows old since."""
    log = Log(account_bytes=3 * (OVERHEAD + 100))
    before = [log.record() for _ in range(3)]
    log.replay.break_off("a")
    assert log.missed(before[-1]) is None
    since = [log.record() for _ in range(2)]
    assert [log.missed(offset) for offset in before] == [None] * 3
    assert log.missed(since[0]) == since[1:]
    log.clock.pump([SWEEP_SECONDS] * int(KEPT_SECONDS / SWEEP_SECONDS + 1))
    assert log.missed(before[-1]) is None


def test_all_broken_off() -> None:
    """What may have been told to nobody of any account's is missing in every log."""
    log = Log()
    mine, theirs = log.record(), log.record(devices_of("b"))
    log.replay.break_off()
    assert log.missed(mine) is None
    assert log.missed(theirs, account="b") is None


def test_what_was_told_last() -> None:
    """Who has heard up to an event was told that and what is before it, as far as it watches and of late."""
    log = Log()
    log.record()
    log.clock.advance(5)
    session, last, _ = log.record(watchers_of_session("a", "x")), log.record(), log.record()

    def told(scope: Scope, subject: str) -> list[str]:
        start = log.replay.heard("a", last)
        assert start is not None
        packets = log.replay.heard_lately("a", start, scope, subject, 4)
        return [json.loads(packet.text[2:])[-1] for packet in packets]

    assert told(Scope.USER, "") == [last, session]
    assert told(Scope.SESSION, "x") == [session]
    assert told(Scope.SESSION, "y") == []


def test_bytes_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """All logs together hold so many bytes; the oldest event of all makes room."""
    monkeypatch.setattr(module, "TOTAL_BYTES", 3 * (OVERHEAD + 100))
    log = Log()
    mine = [log.record() for _ in range(2)]
    theirs = [log.record(devices_of("b")) for _ in range(3)]
    assert log.missed(mine[0]) is None
    assert log.missed(mine[1]) == []
    assert log.missed(theirs[0], account="b") == theirs[1:]


def test_awaited() -> None:
    """Events are kept for those who may come back, as long as they may."""
    log = Log()
    assert not log.replay.expect("a", Scope.SESSION, "x")
    first = log.record()
    assert log.replay.expect("a", Scope.SESSION, "x")
    assert log.replay.awaited(watchers_of_session("a", "x"))
    assert not any(map(log.replay.awaited, (DEVICES, watchers_of_session("a", "y"), devices_of("b"))))
    log.replay.leave("a")
    assert log.missed(first) == []
    log.replay.give_up("a", Scope.SESSION, "x")
    assert not log.replay.awaited(watchers_of_session("a", "x"))
    log.replay.leave("a")
    assert log.missed(first) is None
    assert log.replay.size == 0


def test_awaited_from_elsewhere() -> None:
    """A log is begun for somebody whom another node expects, where there is none yet."""
    log = Log()
    first = log.record()
    for account in "ab":
        assert log.replay.expect(account, Scope.USER, "", anew=True)
        assert log.replay.awaited(devices_of(account))
    assert log.missed(first) == []


def test_much_that_is_old() -> None:
    """Of very much that is old at once, the rest goes in the next turns."""
    log = Log(2**24, TurningClock())
    for _ in range(2 * module._AT_ONCE + 1):
        log.record()
    log.clock.advance(KEPT_SECONDS + SWEEP_SECONDS)
    sizes = [log.replay.size]
    for _ in range(2):
        log.clock.advance(0)
        sizes.append(log.replay.size)
    assert sizes[0] > sizes[1] > sizes[2] == 0


def test_exactly_as_much_as_all_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """What just fits stays."""
    log = Log()
    first = log.record()
    monkeypatch.setattr(module, "TOTAL_BYTES", 2 * log.replay.size)
    second = log.record()
    assert log.missed(first) == [second]
    log.record()
    assert log.missed(first, since=0) is not None
    assert log.replay.size == module.TOTAL_BYTES
