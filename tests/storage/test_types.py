"""Values without a database."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.storage.types import FIRST, LAST, format_timestamp, parse_timestamp

_LAST_OF_9999 = 253402300799999


@given(st.integers(0, _LAST_OF_9999))
def test_times_survive(millis: int) -> None:
    """A time in milliseconds is the same after a way through its text."""
    assert parse_timestamp(format_timestamp(millis)) == millis


def test_form() -> None:
    """Times are written in UTC with three digits after the point, and read with fewer as well."""
    assert format_timestamp(1795418951840) == "2026-11-23 07:29:11.840"
    assert parse_timestamp("2026-11-23 07:29:11.84") == 1795418951840


def test_past_the_calendar() -> None:
    """A time that no timestamp can show is an OverflowError."""
    with pytest.raises(OverflowError):
        format_timestamp(_LAST_OF_9999 + 1)


@pytest.mark.parametrize(
    ("text", "millis"),
    [
        ("infinity", LAST),
        ("10000-01-01 00:00:00", LAST),
        ("294276-12-31 23:59:59.999", LAST),
        ("-infinity", FIRST),
        ("0044-03-15 00:00:00 BC", FIRST),
    ],
)
def test_beyond_the_calendar(text: str, millis: int) -> None:
    """What PostgreSQL can store and no calendar shows is the first or last time, and can be stored again."""
    assert parse_timestamp(text) == millis
    assert parse_timestamp(format_timestamp(millis)) == millis
