"""Making a data directory: all of it or nothing."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from happy.base.errors import StartupError
from happy.postgres.account import Account, give, helper, stand_in
from happy.postgres.binaries import Installation
from happy.postgres.cluster import initdb_arguments
from happy.postgres.logs import LogSink
from happy.postgres.process import Program, spawn

_log = Logger()


async def initialise(
    reactor: Any, installation: Installation, folder: Path, account: Account | None, sink: LogSink
) -> None:
    """Run initdb beside ``folder`` and move the result there. Raises StartupError."""
    _log.info("making a new database with PostgreSQL {major}", major=installation.major)
    beside = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(mode=0o700)
        await _run_initdb(reactor, installation, beside, account, sink)
        if account is not None:
            give(beside, account)
        _move(beside, folder)
    except OSError as error:
        raise StartupError(f"cannot make the database in {folder}: {error.strerror}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


async def _run_initdb(
    reactor: Any, installation: Installation, beside: Path, account: Account | None, sink: LogSink
) -> None:
    # initdb insists on a name for the account it runs as; the cluster's own one may be a bare number.
    runner = account if account is None or account.named else helper()
    if runner is not None:
        os.chown(beside, runner.uid, runner.gid)
    command = initdb_arguments(installation, beside)
    sink.begin()
    program = Program(command, runner, (installation.folder, beside), signal.SIGTERM, stand_in())
    child = spawn(reactor, program, sink.line)
    try:
        failed = await child.ended
    except CancelledError:
        child.send(signal.SIGTERM)
        raise
    if failed is not None:
        raise StartupError(f"cannot make the database in {beside.parent}: {sink.reason()}")


def _move(beside: Path, folder: Path) -> None:
    """Put the complete directory in its place, and let that survive a power cut."""
    os.rename(beside, folder)
    parent = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
