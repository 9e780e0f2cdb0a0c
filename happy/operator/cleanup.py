"""``happyctl cleanup``."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from happy.operator.deployment import Deployment
from happy.operator.frame import Shown, Tool, agreed, destroys
from happy.operator.kinds import DURATION
from happy.operator.progress import Steps
from happy.operator.removing import Removal, nothing_refers, remove_session, taking_turns
from happy.operator.text import age, number, size
from happy.storage import auth_requests, retention, uploads
from happy.storage.retention import Cuts, OldSession

if TYPE_CHECKING:
    from happy.settings.config import Config
    from happy.storage.blocking import BlockingDatabase

_DAY = 86_400_000
_ALONE = 24 * 3600
"""Seconds that files of nobody have been left alone: those of a session come before its row is known."""
_BATCH = 500


@click.command(
    "cleanup",
    cls=Tool,
    examples=["cleanup --dry-run", "cleanup --inactive 90d", "cleanup --inactive 1y --usage 1y --yes --json"],
)
@click.option("--inactive", type=DURATION, help="Sessions without activity for so long.")
@click.option("--usage", type=DURATION, help="Usage reports of so long ago.")
@click.option("--feed", type=DURATION, help="Feed items of so long ago.")
@destroys
@click.pass_obj
def cleanup(
    deployment: Deployment,
    inactive: int | None,
    usage: int | None,
    feed: int | None,
    yes: bool,
    dry_run: bool,
) -> Shown:
    """Remove what nobody has used for long.

    What is not said is as the settings keep-sessions, keep-usage and keep-feed say; without those it stays.
    Pairing requests that nobody waits for, and files of sessions that do not exist, go in any case. The
    server may run: what goes is gone for its owner at once, and removed in slices with pauses. It may be
    interrupted, and done again. Open apps see it when they look again.
    """
    config = deployment.config
    with deployment.database() as database:
        cuts = _cuts(config, inactive, usage, feed)
        sessions = _old(database, cuts.sessions)
        strays = _strays(config, database)
        reports, items = database.transact(lambda tx: retention.count_old(tx, cuts))
        folders = [config.data_dir / "files" / "sessions" / one.id for one in sessions] + strays
        files, held = _held(folders)
        document = {
            "sessions": len(sessions),
            "messages": sum(one.messages for one in sessions),
            "files": files,
            "bytes": held + sum(one.size for one in sessions),
            "oldestAt": min((one.at for one in sessions), default=None),
            "usageReports": reports,
            "feedItems": items,
        }
        if not agreed(_said(document), yes=yes, dry_run=dry_run):
            return Shown(document, [_said(document)] if dry_run else [])
        document |= _remove(config, database, cuts, sessions, strays)
    return Shown(document, [_said(document)])


def _cuts(config: Config, inactive: int | None, usage: int | None, feed: int | None) -> Cuts:
    now = int(time.time() * 1000)
    kept = (config.keep_sessions, config.keep_usage, config.keep_feed)
    asked = zip((inactive, usage, feed), kept, strict=True)
    ages = [days * _DAY or None if given is None else given for given, days in asked]
    return Cuts._make(None if one is None else now - one for one in ages)


def _old(database: BlockingDatabase, cut: int | None) -> list[OldSession]:
    return database.transact(lambda tx: retention.old_sessions(tx, cut))


def _remove(
    config: Config,
    database: BlockingDatabase,
    cuts: Cuts,
    sessions: Sequence[OldSession],
    strays: Sequence[Path],
) -> dict[str, int]:
    """What was removed, where that may be another number than was announced."""
    gone: list[Removal] = []
    with Steps() as steps:
        steps.begin("Removing sessions", sum(one.size for one in sessions))
        for one in sessions:
            if database.transact(partial(retention.take_away, session=one.id, cut=cuts.sessions)):
                told = partial(_tell, steps, one.size / max(one.messages, 1))
                gone.append(remove_session(config, database, one.id, told))
        steps.begin("Removing the rest")
        nothing_refers(database, retention.forget_removed)
        reports = _all_of(database, retention.remove_usage, cuts.usage)
        items = _all_of(database, retention.remove_feed, cuts.feed)
        database.transact(auth_requests.purge)
        for folder in strays:
            shutil.rmtree(folder, ignore_errors=True)
    return {
        "sessions": sum(one.sessions for one in gone),
        "messages": sum(one.messages for one in gone),
        "usageReports": reports,
        "feedItems": items,
    }


def _tell(steps: Steps, each: float, messages: int) -> None:
    steps.told(round(each * messages))


def _all_of(
    database: BlockingDatabase, remove: Callable[..., Coroutine[Any, Any, int]], cut: int | None
) -> int:
    """Remove slice by slice; how many there were."""
    total = 0
    while cut is not None and (count := taking_turns(database, partial(remove, cut=cut))):
        total += count
    return total


def _strays(config: Config, database: BlockingDatabase) -> list[Path]:
    """The folders of sessions that do not exist; none if not a single one exists, as in a wrong database."""
    root = config.data_dir / "files" / "sessions"
    if config.s3_host or not root.is_dir():
        return []
    before = time.time() - _ALONE
    found = [path for path in sorted(root.iterdir()) if _changed(path) < before]
    known: set[str] = set()
    for start in range(0, len(found), _BATCH):
        names = [path.name for path in found[start : start + _BATCH]]
        known |= database.transact(partial(uploads.sessions_that_exist, ids=names))
    return [path for path in found if path.name not in known] if known else []


def _changed(folder: Path) -> float:
    """The latest change of a folder and what is in it; one that vanishes meanwhile is no matter."""
    try:
        return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:
        return time.time()


def _held(folders: Sequence[Path]) -> tuple[int, int]:
    """How many files are below the folders, and their bytes."""
    sizes = [
        os.lstat(os.path.join(inner, name)).st_size
        for folder in folders
        for inner, _, names in os.walk(folder)
        for name in names
    ]
    return len(sizes), sum(sizes)


def _said(document: dict[str, Any]) -> str:
    oldest = document["oldestAt"]
    used = f", the oldest used {age(oldest)}" if oldest is not None else ""
    return (
        f"Sessions: {number(document['sessions'])}{used}; messages: {number(document['messages'])}; "
        f"files: {number(document['files'])}; {size(document['bytes'])} in all; usage reports: "
        f"{number(document['usageReports'])}; feed items: {number(document['feedItems'])}"
    )
