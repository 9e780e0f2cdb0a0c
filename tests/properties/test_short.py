"""Some thousands of inputs of every kind; a million of them are ``python -m tests.properties``."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.hostile.running import Arena, arena
from tests.properties.inputs import Inputs, Names
from tests.properties.running import Plan, perform

DOCS = Path(__file__).parents[2] / "docs"
OPTIONS = ("--address-limit=0", "--login-limit=0", "--debug-log")
BATCHES = 60
SLOWEST = 1.0


@pytest.fixture(scope="module")
def playing() -> Iterator[Arena]:
    """A server and the innocent."""
    with arena(at_length=False, options=OPTIONS) as one:
        yield one


def test_whatever_comes(playing: Arena) -> None:
    """Every answer is a proper one, nothing is a traceback, and the innocent is served."""
    outcome = perform(Plan(seed=1, batches=BATCHES, parts=2, patience=0), playing, lambda line: None)
    assert outcome.findings == []
    assert outcome.tracebacks == 0
    assert outcome.seen.harm == {}
    assert outcome.seen.worst[1] < SLOWEST
    assert set(outcome.inputs) == {"requests", "events", "bytes", "frames", "polling"}


def test_a_batch_can_be_repeated() -> None:
    """The same seed makes the same inputs."""
    documents = [
        msgspec.json.decode((DOCS / f"{name}.json").read_bytes()) for name in ("openapi", "asyncapi")
    ]
    inputs = Inputs(documents[0], documents[1], Names("token", ("a", "b")))

    def make() -> list[bytes]:
        rng = random.Random("1/2")
        kinds = (lambda: inputs.request(rng)[1], lambda: inputs.event(rng, 1), lambda: inputs.frames(rng))
        return [kind() for _ in range(200) for kind in kinds]

    assert make() == make()


def test_every_endpoint_and_event_is_tried() -> None:
    """No declaration is left out."""
    documents = [
        msgspec.json.decode((DOCS / f"{name}.json").read_bytes()) for name in ("openapi", "asyncapi")
    ]
    inputs, rng = Inputs(documents[0], documents[1], Names("token", ("a", "b"))), random.Random(1)
    tried = {inputs.request(rng)[0] for _ in range(3000)}
    assert tried == set(inputs.endpoints)
    assert len(tried) == sum(len(methods) for methods in documents[0]["paths"].values())
    names = {inputs.event(rng, 1).partition(b'["')[2].partition(b'"')[0] for _ in range(3000)}
    assert len(names) == sum(one["action"] == "receive" for one in documents[1]["operations"].values())
