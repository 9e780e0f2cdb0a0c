"""The embedded server's life: made, started, watched, restarted, stopped (decisions 3)."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.base.errors import ConnectionLost, StartupError
from happy.base.private_folders import COMMON, make_folder
from happy.base.redaction import describe_fault
from happy.base.rounds import Rounds
from happy.base.trouble import Trouble
from happy.base.waiting import within
from happy.postgres.account import Account, account_for, belongs_to_root, give, ownership_advice
from happy.postgres.binaries import Installation, choose, installations
from happy.postgres.cluster import DATABASE, SESSION, USER, data_major, server_arguments
from happy.postgres.initialise import initialise
from happy.postgres.logs import LogSink
from happy.postgres.orphans import (
    FolderLock,
    end_leftovers,
    is_ours,
    living_server,
    remove_stale_files,
    stop_process,
)
from happy.postgres.process import Child, Program, spawn
from happy.postgres.sockets import fits, short_folder
from happy.storage.dsn import forget_libpq_environment, parse_target
from happy.storage.pool import Connector
from happy.storage.refusals import is_beginning

_CONNECT_STEP = 0.02
_ANSWER_PATIENCE = 5.0
"""Seconds that PostgreSQL has to take a connection when it is asked whether it does."""
_CHECK_SECONDS = 30.0
_PATIENCE_NOTICE = 10.0
_PATIENCE = 120.0
"""Seconds that a process has to say at least that it is starting; recovery may take any time after that."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0
_LONG_LIFE = 60.0
_LOCK_FILE_EXISTS = "F0001"
_LOCK_ATTEMPTS = 6
_ORPHAN_PATIENCE = 30.0
_QUIT_BEFORE = 1.5
_KILL_AFTER = 0.5


class EmbeddedPostgres:
    """PostgreSQL as a child process on a unix socket, with its data in ``folder``.

    The folder's neighbours ``<name>.log`` and ``<name>.lock`` belong to it. ``bin_dir`` is searched for
    programs of the data's own major version when the installed wheel has none. ``connections`` is the size
    of the pool that will use it. ``settings`` are further settings of PostgreSQL.

    A server that dies is started again, at once or later and later, until it runs or is stopped.
    ``on_restart`` is called at each try. One that lives and takes no connections (it was stopped by a signal,
    the disk does not answer) is told in the log, and ``on_silence`` is called now and then; it is not
    killed, which would make it recover from a crash on top.
    """

    _log = Logger()

    def __init__(
        self,
        folder: Path,
        *,
        reactor: Any,
        bin_dir: Path | None = None,
        connections: int = 8,
        on_restart: Callable[[], None] = lambda: None,
        on_silence: Callable[[], None] = lambda: None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = Path(os.path.realpath(folder))
        self._reactor = reactor
        self._bin_dir = bin_dir
        self._connections = connections
        self._on_restart = on_restart
        self._on_silence = on_silence
        self._settings = settings
        self._lock = FolderLock(self._beside("lock"))
        self._sockets = self.folder
        self._program: Program
        self._sink = LogSink(self._beside("log"))
        self._child: Child | None = None
        self._ready_at = 0.0
        self._unheard_since = 0.0
        self._waits_for = ""
        self._pause = 0.0
        self._sleeping: Deferred[None] | None = None
        self._reviving: Deferred[None] | None = None
        self._stopping = False
        self._restarting = Trouble(self._log, "starting PostgreSQL again", reactor)
        self._asking = Trouble(self._log, "asking PostgreSQL whether it takes connections", reactor)
        self._silence = Trouble(self._log, "connecting to PostgreSQL, which runs,", reactor)
        self._checks = Rounds(
            "watching PostgreSQL",
            self._check,
            reactor,
            seconds=_CHECK_SECONDS,
            patience=2 * _ANSWER_PATIENCE,
        )

    @property
    def dsn(self) -> str:
        """The URL to connect with; known once the server was started."""
        return f"postgresql://{USER}@/{DATABASE}?host={quote(str(self._sockets))}&options={quote(SESSION)}"

    @property
    def pid(self) -> int | None:
        """The server's process id, while it runs."""
        return self._child.pid if self._child and self._child.running else None

    def start(self) -> Deferred[None]:
        """Make the cluster if there is none, and run it; fires when it takes connections.

        Recovery after a crash may take as long as it needs. Fails with StartupError.
        """
        return Deferred.fromCoroutine(self._start())

    def stop(self, seconds: float = 4.0) -> Deferred[None]:
        """Stop the server within so many seconds; fires when it is gone.

        It is asked to end in order; what it has not done when time is nearly up is left to the next start.
        """
        return Deferred.fromCoroutine(self._stop(seconds))

    def _beside(self, ending: str) -> Path:
        return self.folder.with_name(f"{self.folder.name}.{ending}")

    # -- the first start -----------------------------------------------------------------------

    async def _start(self) -> None:
        self._stopping = False
        try:
            await self._prepare(account_for(self.folder))
            await self._first_start()
        except OSError as error:
            await self._stop()
            what = f"use {error.filename}" if error.filename else "start PostgreSQL"
            raise StartupError(f"cannot {what}: {error.strerror}") from None
        except BaseException:
            await self._stop()
            raise
        self._checks.start()

    async def _prepare(self, account: Account | None) -> None:
        forget_libpq_environment()
        make_folder(self.folder.parent, COMMON)
        self._lock.take()
        self._sink.open()
        if account is not None and belongs_to_root(self.folder):
            self._log.warn(
                "giving {folder} to user id {uid}, since PostgreSQL never runs as root",
                folder=str(self.folder),
                uid=account.uid,
            )
            give(self.folder, account)
        installation = choose(installations(self._bin_dir), data_major(self.folder))
        await self._end_orphan()
        if data_major(self.folder) is None:
            await initialise(self._reactor, installation, self.folder, account, self._sink)
        remove_stale_files(self.folder)
        self._program = self._command(installation, account)

    def _command(self, installation: Installation, account: Account | None) -> Program:
        if not fits(self.folder):
            self._sockets = short_folder(account)
        arguments = server_arguments(
            installation,
            self.folder,
            self._sockets,
            connections=self._connections,
            settings=self._settings,
        )
        return Program(arguments, account, (installation.folder, self.folder, self._sockets))

    async def _end_orphan(self) -> None:
        """Stop a server whose parent died without being able to; ours alone, and in order."""
        pid = living_server(self.folder)
        if pid is None:
            return
        if not is_ours(self.folder):
            raise StartupError(
                f"PostgreSQL process {pid}, which is not this server's, uses {self.folder}; stop it first"
            )
        self._log.warn("stopping PostgreSQL process {pid}, left behind by a server that died", pid=pid)
        await stop_process(pid, self._reactor, _ORPHAN_PATIENCE)

    async def _first_start(self) -> None:
        """Run the server. One whose predecessor's last sessions are still ending is tried again."""
        self._pause = 0.0
        for _ in range(_LOCK_ATTEMPTS):
            if await self._run():
                return
            if not self._is_in_the_way() or self._stopping:
                break
            await self._back_off()
            self._clear_the_way()
        reason = self._sink.reason()
        raise StartupError(f"PostgreSQL did not start: {reason}{ownership_advice(reason, self.folder)}")

    # -- running it ----------------------------------------------------------------------------

    async def _run(self) -> bool:
        """Start the process and wait until it takes connections; False when it ended before."""
        self._sink.begin()
        child = self._child = spawn(self._reactor, self._program, self._sink.line)
        self._unheard_since = self._reactor.seconds()
        notice = self._reactor.callLater(_PATIENCE_NOTICE, self._still_waiting)
        try:
            while child.running and not self._stopping:
                if await self._answers() and child.running:
                    self._ready_at = self._reactor.seconds()
                    child.ended.addCallback(self._died)
                    return True
                await deferLater(self._reactor, _CONNECT_STEP)
        finally:
            if notice.active():
                notice.cancel()
        if not child.running:
            await child.ended  # when it has said why
        return False

    async def _answers(self) -> bool:
        """Whether it takes connections. Whatever else comes of asking is logged, and means no."""
        try:
            await self._connect()
        except CancelledError:
            raise
        except ConnectionLost as lost:
            self._not_yet(lost)
            return False
        except TimeoutError:
            return False
        except Exception as error:
            self._asking.again(describe_fault(error))
            return False
        self._asking.over()
        return True

    def _not_yet(self, lost: ConnectionLost) -> None:
        """Wait for what begins. Raises StartupError for what will not get better by itself."""
        now = self._reactor.seconds()
        self._waits_for = lost.reason
        if is_beginning(lost.reason):
            self._unheard_since = now
        if lost.hopeless or now - self._unheard_since > _PATIENCE:
            raise StartupError(f"PostgreSQL runs, but takes no connections: {lost.reason}")

    async def _connect(self) -> None:
        opening = Deferred.fromCoroutine(Connector(parse_target(self.dsn), self._reactor).open())
        (await within(_ANSWER_PATIENCE, opening, self._reactor)).close()

    def _still_waiting(self) -> None:
        self._log.info(
            "PostgreSQL is not ready yet ({reason}); after a crash, recovery can take a while",
            reason=self._waits_for or "it does not answer",
        )

    def _is_in_the_way(self) -> bool:
        """Whether the last start failed because something of the server before is still there."""
        return self._sink.fatal_state == _LOCK_FILE_EXISTS

    def _clear_the_way(self) -> None:
        if count := end_leftovers(self.folder):
            self._log.warn("killed {count} processes that outlived PostgreSQL's main one", count=count)

    async def _check(self) -> None:
        """Whether a server that runs takes connections; one that does not run is being started."""
        pid = self.pid
        try:
            await self._connect()
        except Exception as error:
            if pid is not None and pid == self.pid and not self._stopping:
                self._silence.again(describe_fault(error))
                self._on_silence()
        else:
            self._silence.over()

    # -- revival -------------------------------------------------------------------------------

    def _died(self, reason: str | None) -> None:
        if self._stopping:
            return
        self._log.error("PostgreSQL ended unexpectedly: {reason}", reason=reason or "it was told to")
        self._reviving = Deferred.fromCoroutine(self._revive())
        self._reviving.addBoth(self._revived)

    def _revived(self, _: None | Failure) -> None:
        """It runs, or it is to stop: no attempt ends in anything else."""
        self._reviving = None

    async def _revive(self) -> None:
        """Start again until it runs: at once after a long life, later and later after short ones."""
        if self._reactor.seconds() - self._ready_at > _LONG_LIFE:
            self._pause = 0.0
        await self._back_off()
        while not self._stopping and not await self._try_again():
            await self._back_off()

    async def _try_again(self) -> bool:
        """Whether it runs now. Whatever goes wrong, even where nobody expects it, is a reason to go on."""
        try:
            self._end_what_runs()
            if self._is_in_the_way():
                self._clear_the_way()
            remove_stale_files(self.folder)
            self._on_restart()
            if await self._run():
                self._restarting.over()
                return True
            reason = self._sink.reason()
        except CancelledError:
            raise
        except OSError as error:  # such as a fork that the system has no room for
            reason = error.strerror or describe_fault(error)
        except Exception as error:
            reason = describe_fault(error)
        if not self._stopping:
            self._restarting.again(reason)
        return False

    def _end_what_runs(self) -> None:
        """A try that broke off may have left its process, of which nobody would notice the end."""
        if self._child is not None and self._child.running:
            self._child.send(signal.SIGKILL)

    async def _back_off(self) -> None:
        """Wait a while, longer each time; a stop ends the wait."""
        pause, self._pause = self._pause, min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        if pause and not self._stopping:
            self._sleeping = deferLater(self._reactor, pause)
            with suppress(CancelledError):
                await self._sleeping

    # -- the stop ------------------------------------------------------------------------------

    async def _stop(self, seconds: float = 4.0) -> None:
        self._stopping = True
        self._checks.stop()
        if self._sleeping is not None:
            self._sleeping.cancel()
        if self._reviving is not None:
            self._reviving.cancel()
        if self._child is not None and self._child.running:
            await self._end(self._child, max(0.0, seconds - _QUIT_BEFORE))
        if self._sockets != self.folder:
            shutil.rmtree(self._sockets, ignore_errors=True)
        self._sink.close()
        self._lock.release()

    async def _end(self, child: Child, patience: float) -> None:
        """SIGINT ends sessions and writes a checkpoint, SIGQUIT leaves that to the next start."""
        over: Deferred[None] = Deferred()
        child.ended.addCallback(lambda _: over.callback(None))
        child.send(signal.SIGINT)
        timers = [
            self._reactor.callLater(patience, child.send, signal.SIGQUIT),
            self._reactor.callLater(patience + _KILL_AFTER, child.send, signal.SIGKILL),
        ]
        await over
        for timer in timers:
            if timer.active():
                timer.cancel()
            else:
                self._clear_the_way()
