"""Running a module's tests on a mutant, in a copy of the tree."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.mutation.modules import ROOT, source_of

LONGER = 5.0
"""How many times what the tests usually take a mutant may run before it counts as noticed."""
MEMORY = 4 * 2**30
"""Bytes of address space a mutant may take: one that loops must not fill the machine."""


class Tree:
    """A copy of the package and its tests, in which one module at a time is another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("docs", "happy", "tests", "twisted"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("README.md", "pyproject.toml"):
            shutil.copy(ROOT / name, folder)
        folder.chmod(0o755)

    def usual_seconds(self, tests: Sequence[str]) -> float | None:
        """How long the tests take on the code as it is; None when they fail."""
        began = time.monotonic()
        return time.monotonic() - began if self._passes(tests, 600.0) else None

    def notices(self, module: str, text: str, tests: Sequence[str], usual: float) -> bool:
        """Whether the tests fail, or never end, with another text of the module."""
        file = self._folder / source_of(module)
        original = file.read_text()
        file.write_text(text)
        try:
            return not self._passes(tests, usual * LONGER + 10)
        finally:
            file.write_text(original)

    def _passes(self, tests: Sequence[str], seconds: float) -> bool:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        environment = {
            **os.environ,
            "PYTHONPATH": str(self._folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_PROFILE": "ci",
        }
        run = subprocess.Popen(
            command,
            cwd=self._folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_limit,
        )
        try:
            return run.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
            run.wait()


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
