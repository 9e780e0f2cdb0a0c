"""What the one who typed a start learns of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from twisted.scripts._twistd_unix import UnixApplicationRunner

from happy.service.background import NO_WORD, Terminal

BACKGROUND = {"nodaemon": False, "debug": False, "logfile": None, "syslog": False, "logger": None}
FOREGROUND = BACKGROUND | {"nodaemon": True}


def first_process(server: Callable[[Terminal], object]) -> int:
    """The exit status of twistd's first process, when the server does this in the other one."""
    twistd_s_own = UnixApplicationRunner._waitForStart
    terminal = Terminal(BACKGROUND)
    reads, writes = os.pipe()
    if not os.fork():
        os.write(writes, b"0")
        server(terminal)
        os._exit(0)
    runner: Any = UnixApplicationRunner.__new__(UnixApplicationRunner)
    try:
        return int(runner._waitForStart(reads))
    finally:
        UnixApplicationRunner._waitForStart = twistd_s_own  # type: ignore[method-assign]
        os.close(reads)
        os.close(writes)
        os.wait()


def test_it_serves() -> None:
    """The start is over, and well."""
    assert first_process(Terminal.serves) == 0


def test_it_fails(capfd: pytest.CaptureFixture[str]) -> None:
    """The reason is told here, however long, and the exit status is 1."""
    assert first_process(lambda terminal: terminal.fails("the disk is full")) == 1
    assert capfd.readouterr().err == "happy: the disk is full\n"
    assert first_process(lambda terminal: terminal.fails("x" * 100_000)) == 1
    assert len(capfd.readouterr().err) == 4008


def test_it_ends_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    """A process that is killed says nothing, and is not waited for."""
    assert first_process(lambda terminal: os._exit(9)) == 1
    assert capfd.readouterr().err == f"happy: {NO_WORD}\n"


def test_in_the_foreground(capfd: pytest.CaptureFixture[str]) -> None:
    """The reason goes to the terminal, which may have the log as well."""
    for twistd, has_the_log in (
        (FOREGROUND, True),
        (FOREGROUND | {"logfile": "x"}, False),
        (FOREGROUND | {"syslog": True}, False),
        (BACKGROUND | {"debug": True}, True),
        ({}, True),
        (None, False),
    ):
        terminal = Terminal(twistd)
        assert terminal.has_the_log is has_the_log
        terminal.serves()
        terminal.fails("no")
        assert capfd.readouterr().err == "happy: no\n"
