"""What a parent and a worker tell each other.

A worker is told what it is by its standard input, as one pickle, and lives as long as that stays open. It
answers by lines of JSON on a descriptor of its own.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from happy.service.place import WorkerPlace
    from happy.settings.config import Config

ANSWERS: Final = 3
"""The worker's descriptor to answer by."""

LONGEST: Final = 256 * 1024
"""Bytes of a line."""


@dataclass(frozen=True, slots=True)
class Brief:
    """What a worker is."""

    config: Config
    place: WorkerPlace


class Logged(Struct, array_like=True, tag="log"):
    """A message for the log."""

    when: float
    level: str
    namespace: str
    text: str


class Serving(Struct, array_like=True, tag="serving"):
    """It serves."""


class Alive(Struct, array_like=True, tag="alive"):
    """Its reactor turns; said again and again."""


class Failed(Struct, array_like=True, tag="failed"):
    """It cannot start; the reason is a line for the operator."""

    reason: str


Answer = Logged | Serving | Alive | Failed

encode: Final = msgspec.json.Encoder().encode
decode: Final = msgspec.json.Decoder(Answer).decode


def write_brief(brief: Brief) -> bytes:
    """What a worker's standard input begins with. Only parent and worker see it, which run the same code."""
    return pickle.dumps(brief)


def read_brief(file: BinaryIO) -> Brief:
    """What :func:`write_brief` wrote, and nothing after it."""
    brief: Brief = pickle.load(file)
    return brief
