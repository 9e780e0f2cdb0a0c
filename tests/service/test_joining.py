"""Which bus a server has, as its settings say."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from happy.cluster.postgres_bus import PostgresBus
from happy.cluster.redis_bus import RedisBus
from happy.service.joining import bus_of
from happy.settings.declaration import BadSetting
from happy.settings.loading import load

DSN = "postgresql://localhost/happy"
REDIS = ["redis://localhost"]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, None),
        ({"redis-url": REDIS}, RedisBus),
        ({"workers": ["2"]}, PostgresBus),
        ({"workers": ["2"], "redis-url": REDIS}, RedisBus),
        ({"bus": ["postgres"], "redis-url": REDIS}, PostgresBus),
        ({"bus": ["none"], "redis-url": REDIS}, None),
    ],
)
def test_usual(given: dict[str, list[str]], kind: type | None) -> None:
    """Redis if its address is given, PostgreSQL for several workers, or what is asked for."""
    make = bus_of(load(given, {}), Clock(), "n1")
    assert (make and type(make(DSN))) == kind


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"bus": ["redis"]}, "redis-url: bus needs it"),
        ({"bus": ["none"], "workers": ["2"]}, "workers: several hear each other by a bus"),
        ({"node": ["n.1"]}, "have up to 32 letters"),
        ({"workers": ["0"]}, "from 1 to 64"),
    ],
)
def test_refused(given: dict[str, list[str]], said: str) -> None:
    """What cannot be is refused in one line."""
    with pytest.raises(BadSetting, match=said):
        load(given, {})


def test_wrong_address() -> None:
    """An address whose parts are wrong is refused, without being repeated."""
    config = load({"redis-url": ["redis://:secret@localhost/queue"]}, {})
    with pytest.raises(BadSetting, match="^redis-url: it must be a URL") as refused:
        bus_of(config, Clock(), "n1")
    assert "secret" not in str(refused.value)


def test_as_many_as_cores() -> None:
    """``auto`` is a number of processes."""
    assert load({"workers": ["auto"]}, {}).workers >= 1
