"""Heartbeats beside a simple rule, in any order of events: none is forgotten, and nothing stays behind."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred

from happy.base.errors import DatabaseDown
from happy.realtime import heartbeats
from happy.realtime.heartbeats import ANSWER_SECONDS, MAX_UNANSWERED
from tests.realtime.heartbeating import MOMENT, World

SUBJECTS = st.sampled_from("abcd")


class KindMachine(RuleBasedStateMachine):
    """A kind beside the simple rule: what was queued is stored or still pending, unless it was given up."""

    def __init__(self) -> None:
        super().__init__()
        self.batch, heartbeats.FLUSH_BATCH = heartbeats.FLUSH_BATCH, 2  # type: ignore[misc]
        self.world = World()
        self.table = self.world.table
        self.world.add(*"abcd")
        self.owed: dict[str, int] = {}
        self.poisoned_once: set[str] = set()
        self.flushing: Deferred[None] | None = None
        self.at = 0

    def teardown(self) -> None:
        """In good times everything gets stored; one that fails for itself stops no other."""
        cursed = self.table.cursed
        self.heal()
        self.world.clock.advance(ANSWER_SECONDS * 10)
        assert self.flushing is None or self.flushing.called
        self.table.cursed = cursed
        for _ in range(30):
            self.world.flush()
        self.judge(lambda subject: subject in cursed)
        self.table.cursed = set()
        for _ in range(5):
            self.world.flush()
        self.judge(lambda subject: False)
        assert not self.world.kind.pending
        assert not self.table.unanswered or not self.table.silent
        heartbeats.FLUSH_BATCH = self.batch  # type: ignore[misc]

    def judge(self, excused: Callable[[str], bool]) -> None:
        for subject, at in self.owed.items():
            row = self.table.rows.get(subject)
            assert row is None or excused(subject) or row.last_active_at >= at, subject

    @rule(subject=SUBJECTS, late=st.booleans())
    def beat(self, subject: str, late: bool) -> None:
        """A heartbeat newer than all before, far enough to be worth storing; or an old one, out of turn."""
        self.at += 60_000
        at = self.at - 90_000 if late else self.at
        if self.world.beat(subject, at) and subject in self.table.rows and not late:
            self.owed[subject] = at

    @rule()
    def flush(self) -> None:
        """Begin to store what can be stored, unless that is under way."""
        if self.flushing is None or self.flushing.called:
            self.flushing = Deferred.fromCoroutine(self.world.kind.flush())

    def _excuse(self) -> None:
        """Poisoned ones may be given up."""
        for subject in self.poisoned_once:
            if self.world.kind.entries.get(subject) is None:
                self.owed.pop(subject, None)

    @rule(subject=SUBJECTS)
    def forget(self, subject: str) -> None:
        """Whoever stops a session wants its heartbeat to go."""
        self.world.kind.forget(subject)
        self.owed.pop(subject, None)

    @rule(subject=SUBJECTS)
    def delete(self, subject: str) -> None:
        """A row disappears, and is made anew by the next one."""
        self.owed.pop(subject, None)
        if self.table.rows.pop(subject, None) is None:
            self.world.add(subject)
            self.world.kind.forget(subject)

    @rule(subject=SUBJECTS, harm=st.sampled_from(["held", "poisoned", "cursed"]))
    def harm(self, subject: str, harm: str) -> None:
        """Something is wrong with a row."""
        getattr(self.table, harm).add(subject)
        if harm == "poisoned":
            self.poisoned_once.add(subject)

    @rule(trouble=st.sampled_from(MOMENT))
    def break_down(self, trouble: Callable[[], Exception]) -> None:
        """The database is away."""
        self.table.trouble = trouble

    @rule(how=st.sampled_from(["silent", "lossy"]))
    def fall_silent(self, how: str) -> None:
        """Its answers do not come."""
        setattr(self.table, how, True)

    @precondition(lambda self: self.table.unanswered)
    @rule(fails=st.booleans())
    def answer(self, fails: bool) -> None:
        """An answer comes, in time or not."""
        late = self.table.unanswered.pop(0)
        if not late.called:
            late.errback(DatabaseDown("late")) if fails else late.callback(None)

    @rule()
    def heal(self) -> None:
        """Everything is well again."""
        self.table.held, self.table.poisoned, self.table.cursed = set(), set(), set()
        self.table.trouble, self.table.silent, self.table.lossy = None, False, False

    @rule(seconds=st.sampled_from([1.0, 40.0, 400.0]))
    def pass_by(self, seconds: float) -> None:
        """Time passes, and what is old is dropped."""
        self.world.clock.advance(seconds)
        self.world.kind.tidy()

    @invariant()
    def nothing_is_forgotten(self) -> None:
        """What is owed is in its row, or pending; and exactly what is pending is listed so."""
        self._excuse()
        kind = self.world.kind
        pending = {subject: entry.pending for subject, entry in kind.entries.items()}
        assert kind.pending.keys() == {subject for subject, at in pending.items() if at is not None}
        for subject, at in self.owed.items():
            row = self.table.rows[subject]
            assert row.last_active_at >= at or (pending.get(subject) or 0) >= at, subject
        assert len(kind._writes) <= MAX_UNANSWERED


TestKind = KindMachine.TestCase


def test_one_that_fails_beside_one_that_is_gone() -> None:
    """A row that makes each statement fail keeps back no other, whatever is stored or left out between."""
    machine = KindMachine()
    machine.beat(subject="b", late=False)
    machine.beat(subject="c", late=False)
    machine.beat(subject="a", late=False)
    machine.delete(subject="a")
    machine.harm(subject="b", harm="cursed")
    machine.teardown()
