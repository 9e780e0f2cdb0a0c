"""What the system does to a server under test, switched from outside: clock, forks, disk, names.

The server is not changed for it: Python loads ``sitecustomize`` from a folder on its path before anything
else, and that takes the place of a few functions of the standard library. It looks at a page of memory that
it shares with a test through a file.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

FOLDER = Path(__file__).parent
VARIABLE = "HAPPY_TESTS_SWITCHES"
_PAGE = struct.Struct("dqq")


class Switches:
    """The switches of a server: start it with :attr:`environment` among its own.

    ``ahead`` are the seconds that its wall clock differs by from the true one, ``refusing`` tells whether the
    system gives it no further process, ``refused`` counts how often that happened.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "switches"
        self._path.write_bytes(bytes(_PAGE.size))
        with self._path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), _PAGE.size)

    @property
    def environment(self) -> dict[str, str]:
        """What tells the server where the switches are; ``PYTHONPATH`` is to be put before another one."""
        return {VARIABLE: str(self._path), "PYTHONPATH": str(FOLDER)}

    @property
    def ahead(self) -> float:
        return float(_PAGE.unpack_from(self._page)[0])

    @ahead.setter
    def ahead(self, seconds: float) -> None:
        _, *rest = _PAGE.unpack_from(self._page)
        _PAGE.pack_into(self._page, 0, seconds, *rest)

    @property
    def refused(self) -> int:
        return int(_PAGE.unpack_from(self._page)[2])

    def refuse_forks(self, refusing: bool) -> None:
        """From now on no process can be started, or it can again."""
        ahead, _, refused = _PAGE.unpack_from(self._page)
        _PAGE.pack_into(self._page, 0, ahead, refusing, refused)
