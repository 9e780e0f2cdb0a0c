"""The forms in which TZ names a time zone."""

from __future__ import annotations

from pathlib import Path

import pytest

from happy.settings.time_zones import time_zone
from tests.harness import psql, scratch_database

FORMS = {
    "Europe/Berlin": "Europe/Berlin",
    ":Europe/Berlin": "Europe/Berlin",
    "posix/Europe/Berlin": "Europe/Berlin",
    "EST5EDT": "EST5EDT",
    "CET-1CEST,M3.5.0,M10.5.0/3": "CET-1CEST,M3.5.0,M10.5.0/3",
    "CET-1CEST": "CET-1CEST,M3.2.0,M11.1.0",
    "<+0330>-3:30": "<+0330>-3:30",
    "UTC0": "UTC0",
    "JST-9": "JST-9",
}


@pytest.mark.parametrize(("text", "zone"), FORMS.items())
def test_forms(text: str, zone: str) -> None:
    """A name, with or without a colon or a folder, and POSIX's rules."""
    assert time_zone(text) == zone


def test_postgresql_takes_them() -> None:
    """The database knows what every form became, and means the same by it."""
    with scratch_database(migrated=False) as dsn:
        ask = "SELECT date_trunc('day', timestamptz '2026-07-01 23:30Z', '{}') AT TIME ZONE 'UTC'"
        hours = [psql(dsn, ask.format(zone))[0][0].strftime("%d %H:%M") for zone in FORMS.values()]
    assert hours == [
        *["01 22:00"] * 3,
        "01 04:00",
        *["01 22:00"] * 2,
        "01 20:30",
        "01 00:00",
        "01 15:00",
    ]


def test_files(tmp_path: Path) -> None:
    """The path of a zone's file is its name; a copy of one says its rules."""
    zone = Path("/usr/share/zoneinfo/Europe/Berlin")
    if not zone.exists():
        pytest.skip("no list of zones")
    assert time_zone(f":{zone}") == "Europe/Berlin"
    (tmp_path / "localtime").symlink_to(zone)
    assert time_zone(str(tmp_path / "localtime")) == "Europe/Berlin"
    (tmp_path / "copy").write_bytes(zone.read_bytes())
    assert time_zone(str(tmp_path / "copy")) == "CET-1CEST,M3.5.0,M10.5.0/3"


@pytest.mark.parametrize(
    "text", ["", ":", "/", "Europe/Nowhere", "/etc/passwd", "/nowhere", "\0", "a" * 300, "CET-1CEST,M13.1"]
)
def test_refused(text: str) -> None:
    """What names no zone is refused."""
    with pytest.raises(ValueError, match="be the name of a time zone"):
        time_zone(text)
