"""A server whose wall clock can be put to another hour while it runs."""

from __future__ import annotations

import os
import struct
from pathlib import Path

SECONDS = struct.Struct("d")


class SteppedClock:
    """The wall clock of a process with this ``environment``, in a file. Its other clocks are the system's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_bytes(SECONDS.pack(0.0))
        here = Path(__file__)
        folders = os.pathsep.join([str(here.parent), str(here.parents[2])])
        self.environment = {"PYTHONPATH": folders, "HAPPY_TESTS_CLOCK": str(path)}

    def set(self, seconds: float) -> None:
        """Put it so many seconds ahead of the system's, or behind for a negative number."""
        with self._path.open("r+b") as file:
            file.write(SECONDS.pack(seconds))
