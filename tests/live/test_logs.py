"""The log wherever twistd and twist can write it: bounded, without anything of a client's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.serving import ROOT
from tests.logs.flooding import REMOVED, SECRET, TIMES

PLUGIN = """
from twisted.application.service import ServiceMaker

flood = ServiceMaker("Flood", "tests.logs.flooding", "Floods the log.", "flood")
"""
BOUND = 64 * 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory in which twistd and twist know the command ``flood``."""
    plugins = tmp_path / "path" / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "flood_plugin.py").write_text(PLUGIN)
    return tmp_path


def run(folder: Path, command: str, *arguments: str, **environment: str) -> str:
    """What a command writes to its standard output and error until it ends."""
    program = Path(sys.executable).with_name(command)
    path = os.pathsep.join([str(folder / "path"), str(ROOT)])
    ended = subprocess.run(
        [program, *arguments, "flood"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout.decode()


def check(log: str) -> None:
    """Each fault is there, much was left out, and nothing is there that a client could have said."""
    assert len(log) < BOUND
    assert SECRET not in log
    for name in ("ValueError", "KeyError", "IndexError", "logs/flooding.py", "Timing out {peer}"):
        assert name in log.replace("{{", "{").replace("}}", "}"), name
    assert f"left out {TIMES - 1} times in the last minute: ValueError" in log


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("twistd", ("-n", "--pidfile=")),
        ("twistd", ("-n", "--pidfile=", "--logger=tests.logs.flooding.Observer")),
        ("twist", ("--log-format=text",)),
        ("twist", ("--log-format=json", "--log-level=debug")),
    ],
)
def test_standard_output(folder: Path, command: str, arguments: tuple[str, ...]) -> None:
    """What goes to the standard output, in either form, or to an observer of the operator's."""
    check(run(folder, command, *arguments))


@pytest.mark.parametrize("arguments", [("-n", "--pidfile="), ()])
def test_file(folder: Path, arguments: tuple[str, ...]) -> None:
    """What goes to a file, in the foreground and in the background."""
    reading, writing = os.pipe()
    try:
        os.set_inheritable(writing, True)
        run_until_closed(folder, arguments, reading, writing)
    finally:
        os.close(reading)
    check((folder / "log").read_text())


def run_until_closed(folder: Path, arguments: tuple[str, ...], reading: int, writing: int) -> None:
    """Run twistd; when every process that has ``writing`` is gone, so is the one in the background."""
    program = Path(sys.executable).with_name("twistd")
    path = os.pathsep.join([str(folder / "path"), str(ROOT)])
    try:
        subprocess.run(
            [program, *arguments, "--logfile=log", "flood"],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": path},
            pass_fds=(writing,),
            timeout=60,
            check=True,
        )
    finally:
        os.close(writing)
    assert os.read(reading, 1) == b""


def test_removed_file(folder: Path) -> None:
    """A log file that somebody removes troubles nobody."""
    run(folder, "twistd", "-n", "--pidfile=", "--logfile=log", **{REMOVED: str(folder / "log")})
    assert not (folder / "log").exists()


def test_full_disk(folder: Path) -> None:
    """Nor does one that has no room."""
    run(folder, "twistd", "-n", "--pidfile=", "--logfile=/dev/full")
