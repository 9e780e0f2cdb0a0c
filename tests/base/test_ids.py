"""Row identifiers (schema.md 2.1)."""

from __future__ import annotations

import re
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from happy.base.ids import CuidSource, cuid, new_cuid

NOW = 1_750_000_000_123
FORM = re.compile(r"c[0-9a-z]{24}")


def test_layout() -> None:
    """An id is c, the time, the counter, the fingerprint and a random part, all base 36."""
    source = CuidSource(36, "ab")
    first, second = source.cuid(NOW), source.cuid(NOW)
    assert FORM.fullmatch(first) and FORM.fullmatch(second)
    assert int(first[1:9], 36) == NOW
    assert (first[9:13], second[9:13]) == ("0000", "0001")
    assert first[13:15] == "10"
    assert first[13:17] == second[13:17]
    assert first[17:] != second[17:]


def test_fingerprint_tells_processes_apart() -> None:
    """Neighbouring process ids, and different hosts, make different fingerprints."""
    prints = {CuidSource(pid, host).cuid(NOW)[13:17] for pid in (1, 2) for host in ("a", "b")}
    assert len(prints) == 4


@given(st.lists(st.integers(NOW - 5, NOW + 5), min_size=2, max_size=30))
def test_strictly_increasing_whatever_the_clock_does(times: list[int]) -> None:
    """Ids of one source sort in the order they were made, even when the clock goes back."""
    source = CuidSource(7, "host")
    made = [source.cuid(now) for now in times]
    assert made == sorted(set(made))


def test_increasing_when_the_counter_wraps() -> None:
    """A counter that starts again within one millisecond does not sort before its predecessors."""
    source = CuidSource(7, "host")
    source._count = 36**4 - 3
    made = [source.cuid(NOW)[:13] for _ in range(5)]
    assert made[1].endswith("zzzz") and made[2].endswith("0000")
    assert made == sorted(set(made))


def test_interleaves_with_ids_of_an_existing_database() -> None:
    """Ids made later than an existing one sort after it, whoever made that one."""
    assert CuidSource(1, "host").cuid(NOW) < "cmwsuad8e00009d7d0wvbejoz" < cuid(int("mwsuad8f", 36))


def test_ids_of_this_process() -> None:
    """The process-wide functions share one source."""
    made = [cuid(0), new_cuid(), cuid(0), new_cuid()]
    assert made == sorted(set(made))
    assert len({one[13:17] for one in made}) == 1


def test_ids_of_a_child() -> None:
    """A process that another one became by forking has a fingerprint and random numbers of its own."""
    forking = (
        "import os; from happy.base.ids import cuid, update_id; cuid(0), update_id(); child = os.fork();"
        "child and os.waitpid(child, 0); print(cuid(0)[13:] + ' ' + update_id(), flush=True)"
    )
    said = subprocess.run([sys.executable, "-c", forking], capture_output=True, text=True, check=True).stdout
    one, update, other, other_update = said.split()
    assert one[:2] != other[:2] and one[4:] != other[4:] and update != other_update
