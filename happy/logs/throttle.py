"""How much may be written in a minute, by whom, and how often the same.

Time is cut into windows of a minute, which begin with the first message after the one before has ended.
In a window the first few messages of a subject are written and the others counted; a failure is written
once an hour. What the operator must see (starts, stops, the end of PostgreSQL) has bytes of its own, so that
nothing that clients cause takes them away. At the end of a window each subject that was left out is told
with its number, and as long as there are more of them than lines for them, the rest at the end of the next.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from happy.logs.plain import Subject

WINDOW: Final = 60.0
QUIET: Final = 3600.0
"""Seconds in which the same failure is not written again."""

SAME: Final = 5
"""Messages of one subject in a window."""

MOST_SUBJECTS: Final = 1000
MOST_SUMMARIES: Final = 25
"""Lines at the end of a window about what was left out."""

REPEATED: Final = "repeated"
"""Why a message is left out: much of the same was written."""

FULL: Final = "full"
"""Why a message is left out: the bytes of the window are spent."""

Share = Literal["operator", "database", "events", "clients", "failures", "development"]

BYTES: Final[dict[Share, int]] = {
    "operator": 12 * 1024,
    "database": 6 * 1024,
    "events": 16 * 1024,
    "clients": 12 * 1024,
    "failures": 20 * 1024,
    "development": 256 * 1024,
}
"""What each share of the log may hold in a window; the last is of what the operator has to switch on."""

OVERHEAD: Final = 256
"""Bytes that a line has besides its message: time, namespace and level, in whatever form it is written."""

OPERATORS: Final = (
    "happy.cluster",
    "happy.keys",
    "happy.postgres",
    "happy.service",
    "happy.storage.alone",
    "happy.storage.migrate",
    "happy.tap",
    "happy.workers",
    "twisted.application",
    "twisted.internet.base",
    "twisted.scripts",
)
"""Namespaces of what an operator must see."""

OTHERS: Final[dict[str, Share]] = {
    "happy.postgres.logs.LogSink": "database",
    "happy.capabilities.debug_log": "development",
    "happy.logs.events.Events": "events",
}


_BOUNDED_BY_BYTES: Final[frozenset[Share]] = frozenset({"development", "events"})
"""Of what the same may be said often; events have a bound of their own before they come here."""


def share_of(subject: Subject) -> Share:
    """Whose bytes the messages of a subject take."""
    if subject.namespace in OTHERS:
        return OTHERS[subject.namespace]
    if subject.namespace.startswith(OPERATORS):
        return "operator"
    return "failures" if subject.failed else "clients"


class LeftOut(NamedTuple):
    """How many messages were left out of one subject, and what the first of them said.

    Without a subject it is about those of too many subjects to be told one by one.
    """

    number: int
    subject: Subject | None
    summary: str


class Throttle:
    """Decides what is written. ``now`` is a clock in seconds that never goes back."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._ends = now()
        self._spent: Counter[Share] = Counter()
        self._written: Counter[Subject] = Counter()
        self._left_out: OrderedDict[Subject, LeftOut] = OrderedDict()
        self._too_many = 0
        self._known: OrderedDict[Subject, float] = OrderedDict()

    @property
    def over(self) -> bool:
        """Whether the window has ended, and :meth:`turn` is due."""
        return self._now() >= self._ends

    @property
    def left(self) -> float:
        """Seconds until the window ends."""
        return max(0.0, self._ends - self._now())

    @property
    def quiet(self) -> bool:
        """Whether nothing was left out that is yet to be told."""
        return not self._left_out and not self._too_many

    def turn(self) -> list[LeftOut]:
        """Begin a new window; what was left out in the one before, as far as there are lines for it."""
        self._ends = self._now() + WINDOW
        self._spent.clear()
        self._written.clear()
        told: list[LeftOut] = []
        while self._left_out and len(told) < MOST_SUMMARIES:
            told.append(self._left_out.popitem(last=False)[1])
        if self._too_many and not self._left_out:
            told.append(LeftOut(self._too_many, None, ""))
            self._too_many = 0
        return told

    def wants(self, subject: Subject) -> bool:
        """Whether a message may be written so soon after others of its subject."""
        if share_of(subject) in _BOUNDED_BY_BYTES:
            return True
        if subject.failed:
            return self._known.get(subject, -QUIET) <= self._now() - QUIET
        return self._written[subject] < SAME

    def pays(self, subject: Subject, size: int) -> bool:
        """Whether there is room for a message of ``size`` bytes, which is written then."""
        share = share_of(subject)
        if self._spent[share] + size + OVERHEAD > BYTES[share]:
            return False
        self._spent[share] += size + OVERHEAD
        self._written[subject] += 1
        if subject.failed:
            self._remember(subject)
        return True

    def _remember(self, subject: Subject) -> None:
        """Note that a failure was written; of too many the oldest is forgotten, and may be written again."""
        self._known[subject] = self._now()
        self._known.move_to_end(subject)
        if len(self._known) > MOST_SUBJECTS:
            self._known.popitem(last=False)

    def leave_out(self, subject: Subject, summary: Callable[[], str]) -> None:
        """Count a message that is not written; what it says is asked for the first of a subject alone."""
        counted = self._left_out.get(subject)
        if counted is not None:
            self._left_out[subject] = counted._replace(number=counted.number + 1)
        elif len(self._left_out) < MOST_SUBJECTS:
            self._left_out[subject] = LeftOut(1, subject, summary())
        else:
            self._too_many += 1
