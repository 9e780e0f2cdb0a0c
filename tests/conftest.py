"""What every test run needs: hypothesis profiles, and one PostgreSQL cluster that ends with the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from twisted.internet import reactor
from twisted.internet.task import Clock

from happy.base.clocks import follow_monotonic_time
from tests.harness import stop_cluster

settings.register_profile("dev", deadline=None, max_examples=50)
# On a loaded machine slow data says nothing, and a red run must be repeatable.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# Looks where nobody has looked yet; what it finds is repeated with the seed that pytest prints.
settings.register_profile(
    "explore",
    deadline=None,
    max_examples=300,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

follow_monotonic_time(reactor)  # as in the process of a server

_call_later = Clock.callLater


def _as_a_reactor_does(self: Clock, delay: float, *arguments: Any, **named: Any) -> Any:
    """A clock of a test refuses what a reactor would refuse."""
    assert delay >= 0
    return _call_later(self, delay, *arguments, **named)


Clock.callLater = _as_a_reactor_does  # type: ignore[method-assign]


@pytest.fixture(scope="session", autouse=True)
def _one_cluster() -> Iterator[None]:
    yield
    stop_cluster()
