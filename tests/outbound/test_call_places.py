"""Who may call a service now, and who waits for whom."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from happy.outbound.call_places import SLOW_SECONDS, CallPlace, CallPlaces


@given(st.lists(st.tuples(st.sampled_from(["enter", "leave", "cancel", "pass"]), st.integers(0, 9))))
def test_bounds(steps: list[tuple[str, int]]) -> None:
    """Not more than a few that are quick, nor than all together; who waits is let in when that is so."""
    clock, few, slow = Clock(), 2, 3
    places = CallPlaces(clock, few, slow)
    inside: dict[CallPlace, float] = {}
    waiting: list[Deferred[None]] = []

    def enter() -> None:
        def entered(place: CallPlace) -> None:
            inside[place] = clock.seconds()

        call = Deferred.fromCoroutine(places.enter()).addCallback(entered)
        waiting.append(call.addErrback(lambda failure: failure.trap(CancelledError) and None))

    for what, which in steps:
        if what == "enter":
            enter()
        elif what == "leave" and inside:
            place = list(inside)[which % len(inside)]
            del inside[place]
            place.leave()
        elif what == "cancel" and waiting:
            waiting[which % len(waiting)].cancel()
        elif what == "pass":
            clock.advance(SLOW_SECONDS / 2)
        waiting = [call for call in waiting if not call.called]
        quick = [since for since in inside.values() if clock.seconds() - since < SLOW_SECONDS]
        assert len(quick) <= few
        assert len(inside) <= few + slow
        assert places.waiting == len(waiting)
        assert not waiting or len(quick) == few or len(inside) == few + slow
