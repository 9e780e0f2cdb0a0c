"""What every test run needs: hypothesis profiles, a PostgreSQL cluster that ends with it, who runs what.

The whole suite is divided between two processes, a file at a time, each with a cluster of its own. Files or
tests that are named run in the process that was started.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from twisted.internet import reactor
from twisted.internet.task import Clock
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from happy.base.clocks import follow_monotonic_time
from happy.keys.tokens import Keys
from tests.harness import stop_cluster
from tests.scratch import Scratch, in_memory

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

Keys.derive = cache(Keys.derive)  # type: ignore[method-assign] # a third of a second for each secret

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


@pytest.fixture(scope="module")
def young_heap() -> Iterator[None]:
    """For tests that look at all objects: what was there before the first of the module is left out."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


_SCRATCH = pytest.StashKey[Scratch]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Work in memory, and the processes that the tests are divided between with this one."""
    scratch = in_memory()
    if scratch is not None:
        config.stash[_SCRATCH] = scratch
        # Shorter than what pytest would choose: the paths of sockets have a bound.
        config.option.basetemp = config.option.basetemp or str(scratch.folder / "p")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Everything is over, in the other processes too."""
    if _SCRATCH in config.stash:
        config.stash[_SCRATCH].remove()


WORKERS = 2

DEMANDING = ("tests/hostile/", "tests/faults/", "tests/soak/", "tests/bench/test_live.py")
"""What keeps more than one processor busy, or judges how long something takes: never two of them at once."""


class Division(LoadFileScheduling):
    """Gives a process one file after the other, and all the demanding ones to the same."""

    def _split_scope(self, nodeid: str) -> str:
        return "demanding" if nodeid.startswith(DEMANDING) else super()._split_scope(nodeid)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many processes there are besides the one that was started."""
    return WORKERS if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Division:
    """What divides the tests."""
    return Division(config, log)
