"""What a long command is doing, for whoever looks at a terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Steps:
    """One step after another, each with a bar of bytes on the standard error; without a terminal, nothing."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._current: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, what: str, total: int | None = None) -> None:
        """The next step; ``total`` is how many bytes it has, where that is known."""
        if self._current is not None:
            self._bars.update(self._current, total=self._bars.tasks[self._current].completed)
        self._current = self._bars.add_task(what, total=total)

    def told(self, size: int) -> None:
        """So many bytes more are done."""
        if self._current is not None:
            self._bars.advance(self._current, size)
