"""A user's computer: the published ``happy`` program with a home of its own, on pseudo-terminals."""

from __future__ import annotations

import json
import os
import re
import signal
import termios
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from happy.base.codecs import decode_base64url
from happy.client import Account
from tests.nodejs import node, node_folder

T = TypeVar("T")

HAPPY = "happy@1.2.5"
AGENT = """#!/bin/sh
echo '2.0.0 (stand-in)'
"""
"""Stands for the coding agent, which is only asked for its version here."""

SESSION = Path(__file__).parent / "peers" / "cli_session.mjs"
LINK = r"(?:happy://terminal\?|#key=)([A-Za-z0-9_-]{43})"
PATIENCE = 60.0

_DECORATION = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\r")


def happy_program() -> Path:
    """The published program. Raises SkipTest without Node, or if the registry cannot be reached."""
    return node_folder(HAPPY, "--omit=optional") / "node_modules" / "happy" / "bin" / "happy.mjs"


def _terminal() -> tuple[int, int, str]:
    """A pseudo-terminal of a usual size, as Twisted takes it."""
    master, slave = os.openpty()
    termios.tcsetwinsize(master, (60, 160))
    return master, slave, os.ttyname(slave)


async def soon(waiting: Deferred[T]) -> T:
    """What comes in time. Raises TimeoutError."""
    return await waiting.addTimeout(PATIENCE, reactor)


class Program(ProcessProtocol):
    """A program that runs; ``text`` is what it has shown so far, without decoration."""

    def __init__(self) -> None:
        self.status: int | None = None
        self._leaving: list[Deferred[int]] = []
        self._shown = b""
        self._looking: list[tuple[re.Pattern[str], Deferred[re.Match[str]]]] = []

    @property
    def text(self) -> str:
        return _DECORATION.sub("", self._shown.decode(errors="replace"))

    def shows(self, pattern: str) -> Deferred[re.Match[str]]:
        """Fires once the text matches."""
        found: Deferred[re.Match[str]] = Deferred()
        self._looking.append((re.compile(pattern), found))
        self._look()
        return found

    def type(self, keys: bytes) -> None:
        """Press keys."""
        self.transport.write(keys)

    async def end(self) -> None:
        """End it at once, if it still runs."""
        if self.status is None:
            self.transport.signalProcess(signal.SIGKILL.value)
            await self.exit()

    def exit(self) -> Deferred[int]:
        """Fires with its exit status."""
        gone: Deferred[int] = Deferred()
        if self.status is None:
            self._leaving.append(gone)
        else:
            gone.callback(self.status)
        return gone

    def outReceived(self, data: bytes) -> None:
        """Collect."""
        self._shown += data
        self._look()

    errReceived = outReceived

    def _look(self) -> None:
        for pattern, found in tuple(self._looking):
            if match := pattern.search(self.text):
                self._looking.remove((pattern, found))
                found.callback(match)

    def processEnded(self, reason: Failure) -> None:
        """Tell whoever waits."""
        value = reason.value
        self.status = 0 if reason.check(ProcessDone) else value.exitCode or -value.signal
        for gone in self._leaving:
            gone.callback(self.status)


class Computer:
    """A computer whose ``happy`` uses the server at ``url``."""

    def __init__(self, folder: Path, url: str) -> None:
        self.home = folder / "home"
        self.happy_home = self.home / "happy"
        self.work = self.home / "work"
        programs = folder / "bin"
        for made in (self.happy_home, self.work, programs):
            made.mkdir(parents=True)
        agent = programs / "claude"
        agent.write_text(AGENT)
        agent.chmod(0o755)
        self._happy = happy_program()
        self._environment = {
            "HOME": str(self.home),
            "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
            "SHELL": "/bin/sh",
            "TERM": "xterm-256color",
            "HAPPY_HOME_DIR": str(self.happy_home),
            "HAPPY_DISABLE_CAFFEINATE": "1",
            "HEADLESS": "1",
            "CLAUDE_CONFIG_DIR": str(self.home / "claude"),
            "NO_PROXY": "127.0.0.1,localhost",
        }
        self.use(url)

    def use(self, url: str) -> None:
        """Take another server for what is started from then on."""
        self._environment |= {"HAPPY_SERVER_URL": url, "HAPPY_WEBAPP_URL": url}

    def run(self, *arguments: str, terminal: bool = False) -> Program:
        """Start ``happy`` with arguments, on a pseudo-terminal or without one."""
        return self._start(self._happy, *arguments, terminal=terminal)

    def serve_session(self) -> Program:
        """Start its client of sessions alone, on the session of before if there was one; see the peer."""
        return self._start(SESSION, str(self._happy.parents[3]))

    async def pair(self, phone: Account, *options: str) -> Program:
        """``happy auth login`` as a human does: choose the phone, let it scan the link; it has ended then.

        Raises AssertionError for another exit status than 0.
        """
        program = self.run("auth", "login", *options, terminal=True)
        try:
            await soon(program.shows("authenticate"))
            program.type(b"1")
            link = await soon(program.shows(LINK))
            await phone.approve_terminal(decode_base64url(link[1]))
            assert await soon(program.exit()) == 0, program.text
        finally:
            await program.end()
        return program

    def _start(self, script: Path, *arguments: str, terminal: bool = False) -> Program:
        program = Program()
        command = [node(), "--no-warnings", str(script), *arguments]
        pty = _terminal() if terminal else False
        reactor.spawnProcess(  # type: ignore[attr-defined]
            program, command[0], command, self._environment, str(self.work), usePTY=pty
        )
        return program

    def kept(self, name: str) -> Any:
        """A file in which ``happy`` keeps something."""
        return json.loads((self.happy_home / name).read_text())

    def end(self) -> None:
        """End the daemon, if it still runs."""
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(self.kept("daemon.state.json")["pid"], signal.SIGKILL)
