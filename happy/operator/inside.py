"""How a server looks from its own machine: settings, folder, secret, database, and what it depends on."""

from __future__ import annotations

import os
import re
import resource
import socket
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from happy.base.errors import QueryFailed, StartupError
from happy.keys.master_secret import FILE_NAME, kept
from happy.keys.tokens import Keys, fingerprint
from happy.operator.checks import Check, Look
from happy.operator.migrate import session_of
from happy.operator.others import elsewhere, listed, own
from happy.operator.text import age, size, some
from happy.operator.trouble import CommandFailed, NotAllowed
from happy.settings.declaration import BadSetting
from happy.settings.weak_secrets import WEAK, is_weak
from happy.storage import backups, registration, secrets
from happy.storage.alone import lock_keys, users
from happy.storage.blocking import BlockingDatabase, finished
from happy.storage.dsn import parse_target
from happy.storage.migrate import load_migrations, survey

if TYPE_CHECKING:
    from happy.operator.deployment import Deployment
    from happy.settings.config import Config
    from happy.storage.secrets import KnownSecret
    from happy.storage.transaction import Transaction

LITTLE, VERY_LITTLE = 2 * 1024**3, 200 * 1024**2
"""Bytes of free disk from which on to worry, and that PostgreSQL may need at any moment."""
FEW_FILES = 4096
APART = 2.0
"""Seconds that clocks may differ."""
LONG_AGO = 8 * 86_400_000
PUSH = ("exp.host", 443)
SECONDS = 3.0
_AS_OWNER = "run this as root, or as who runs the server"
_LOCAL = re.compile(r"localhost|127\.0\.0\.1|::1|^unix:|^/")

CLOCK = """
SELECT extract(epoch FROM clock_timestamp())::double precision
"""


def from_inside(deployment: Deployment) -> list[Look]:
    """The looks, each of which waits for something else."""
    config = deployment.config
    return [
        partial(_settings, deployment),
        partial(_running, deployment),
        partial(_nodes, deployment),
        partial(_folder, config),
        partial(_secret, config),
        partial(_database, deployment),
        partial(_disk, config),
        _descriptors,
        partial(_exposed, config),
        _push,
        partial(_objects, config),
    ]


def _settings(deployment: Deployment) -> Iterator[Check]:
    warnings = deployment.findings().warnings
    for line in warnings:
        yield Check("settings", "warn", line, "happyctl config check shows all")
    if not warnings:
        yield Check("settings", "ok", "every setting is known and has an effect")


def _running(deployment: Deployment) -> Iterator[Check]:
    try:
        found = deployment.control.get("/status", SECONDS)
    except CommandFailed as why:
        yield Check("server", "warn", str(why), _AS_OWNER if isinstance(why, NotAllowed) else "start it")
        return
    if found["ready"]:
        yield Check("server", "ok", f"version {found['version']} runs, and is ready")
    elif found["reasons"] == ["draining"]:
        yield Check("server", "warn", "it runs, and takes no new sockets", "happyctl drain --undo")
    else:
        yield Check(
            "server", "fail", f"it runs, but is not ready: {', '.join(found['reasons'])}", "its log says more"
        )


def _nodes(deployment: Deployment) -> Iterator[Check]:
    """What does not fit together among the nodes that the server here hears."""
    try:
        nodes = deployment.control.get("/status", SECONDS)["nodes"]
    except CommandFailed:
        return
    others = elsewhere(nodes)
    if not others:
        return
    found = list(_apart(own(nodes), others))
    yield from found
    if not found:
        yield Check("nodes", "ok", f"this one hears {listed(others)}; version, secret and files are the same")


def _apart(here: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    files = [node for node in others if node.get("filesElsewhere")]
    if files:
        detail = f"{listed(files)}: what is uploaded there is not found here, nor saved by a backup here"
        yield Check("nodes", "fail", detail, "use S3, or share the folder of files")
    for what, fix in (("version", "upgrade all"), ("secret", "set the same one, and restart the node")):
        other = [node for node in others if node.get(what) and here.get(what, node[what]) != node[what]]
        if other:
            values = ", ".join(sorted({str(node[what]) for node in other}))
            detail = f"{listed(other)}: {what} {values}, and here {here[what]}"
            yield Check("nodes", "warn", detail, fix)
    draining = [node for node in others if node["state"] == "draining"]
    if draining:
        yield Check("nodes", "warn", f"{listed(draining)}: no new sockets", "happyctl drain --undo there")


def _folder(config: Config) -> Iterator[Check]:
    folder = config.data_dir
    try:
        mode = stat.S_IMODE(folder.stat().st_mode)
        within = [(one.name, stat.S_IMODE(one.stat().st_mode)) for one in folder.iterdir()]
    except OSError as error:
        denied = isinstance(error, PermissionError)
        fix = _AS_OWNER if denied else "name the server's folder with --data-dir"
        yield Check("data folder", "fail", f"{error.filename or folder}: {error.strerror}", fix)
        return
    private = {"postgres", "files", "backups", FILE_NAME}
    opened = sorted(name for name, bits in within if name in private and bits & 0o077)
    if mode & 0o022:
        yield Check("data folder", "fail", f"others may write in {folder}", f"chmod go-w {folder}")
    elif opened:
        paths = " ".join(str(folder / name) for name in opened)
        yield Check("data folder", "fail", f"others may look into {paths}", f"chmod go-rwx {paths}")
    else:
        yield Check("data folder", "ok", f"{folder} is closed to others")


def _secret(config: Config) -> Iterator[Check]:
    try:
        secret = kept(config)
    except BadSetting as wrong:
        denied = isinstance(wrong.__context__, PermissionError)
        fix = _AS_OWNER if denied else "mend that, or restore the secret from a backup"
        yield Check("master secret", "fail", str(wrong), fix)
        return
    if secret is None:
        there = (config.data_dir / "postgres").exists() or config.database_url
        state, fix = ("fail", "restore it from a backup") if there else ("warn", "the first start makes it")
        yield Check("master secret", state, f"there is none in {config.data_dir}, and none is set", fix)  # type: ignore[arg-type]
    elif is_weak(secret):
        yield Check("master secret", "warn", f"it {WEAK}", "happyctl secret rotate")
    else:
        yield Check("master secret", "ok", "it is there, and nobody else can read it")


def _database(deployment: Deployment) -> Iterator[Check]:
    try:
        with deployment.database(migrated=False) as database:
            yield Check("database", "ok", "it answers")
            for look in (_schema, _fingerprint, _clock, _others, _registration, _backup):
                yield from look(deployment, database)
    except CommandFailed as why:
        fix = "mend that; the other checks of the database need it"
        yield Check("database", "fail", str(why), _AS_OWNER if isinstance(why, NotAllowed) else fix)


def _schema(deployment: Deployment, database: BlockingDatabase) -> Iterator[Check]:
    try:
        _, missing, lost = finished(survey(session_of(database)))  # type: ignore[arg-type]
    except StartupError as refused:
        yield Check("schema", "fail", str(refused), "until then no server of this version starts on it")
        return
    fix = "happyctl migrate, or start the server"
    if lost:
        yield Check("schema", "warn", f"lost: {', '.join(lost)}", fix)
    if missing:
        names = ", ".join(migration.name for migration in missing)
        yield Check("schema", "warn", f"not applied yet: {names}", fix)
    if not lost and not missing:
        yield Check("schema", "ok", f"it is that of this version ({load_migrations()[-1].version})")


def _fingerprint(deployment: Deployment, database: BlockingDatabase) -> Iterator[Check]:
    if not database.transact(secrets.recorded):
        return
    known = database.transact(secrets.known)
    used = next((one for one in known if one.in_use), None)
    with suppress(BadSetting):
        secret = kept(deployment.config)
        if secret is None or used is None:
            return
        ours = Keys.derive(secret).public_key
        yield _belonging(known, used, ours)


def _belonging(known: Sequence[KnownSecret], used: KnownSecret, ours: bytes) -> Check:
    """Whether the secret ``ours`` is the one in use, or could be."""
    name, same = "secret and data", next((one for one in known if one.public_key == ours), None)
    waiting = next((one for one in known if one.since is None), None)
    if same is not None and same.since is None:
        detail = f"a new secret ({fingerprint(ours)}) waits to be taken over"
        return Check(name, "warn", detail, "restart the server")
    if ours == used.public_key and waiting is not None:
        detail = f"a new secret ({fingerprint(waiting.public_key)}) was made, and is not set here"
        return Check(name, "warn", detail, "set it before the server is restarted")
    if ours == used.public_key:
        return Check(name, "ok", f"they belong together ({fingerprint(ours)})")
    detail = f"the data belong to {fingerprint(used.public_key)}, and the secret is {fingerprint(ours)}"
    if same is not None:
        fix = "it was replaced: set the later one here too, then restart the server"
        return Check(name, "fail", detail, fix)
    return Check(name, "fail", detail, "restore the secret that the data belong to")


def _clock(deployment: Deployment, database: BlockingDatabase) -> Iterator[Check]:
    before = time.time()
    theirs = database.transact(_time)
    apart = max(before - theirs, theirs - time.time(), 0.0)
    if apart > APART:
        yield Check("clock", "warn", f"it is {apart:.0f} s from the database's", "let NTP set both")
    elif before < 1_735_689_600:
        yield Check("clock", "fail", "it is before the year 2025", "let NTP set it")
    else:
        yield Check("clock", "ok", "it agrees with the database's")


def _others(deployment: Deployment, database: BlockingDatabase) -> Iterator[Check]:
    if not deployment.config.database_url:
        return
    target = parse_target(database.dsn)
    if target.pooled:
        yield Check("other servers", "warn", "behind a pooler nobody can tell", "run one server alone")
        return
    keys = lock_keys(target.schema, None)
    found = database.transact(lambda tx: users(tx, keys))
    here = deployment.control.path.exists()
    if found and not here:
        yield Check(
            "other servers", "warn", f"a server uses the database ({found[0]}), and none runs here",
            "start no other one here, unless they know of each other",
        )  # fmt: skip
    elif others := elsewhere(deployment.nodes()):
        detail = f"{some(len(others), 'other node')} of the same service; nobody else uses the database"
        yield Check("other servers", "ok", detail)
    else:
        yield Check("other servers", "ok", "nobody else uses the database")


def _registration(deployment: Deployment, database: BlockingDatabase) -> Iterator[Check]:
    config = deployment.config
    try:
        found = database.transact(lambda tx: registration.current(tx, config.registration))
    except QueryFailed:  # a database that an earlier version made has no place for what was said
        found = registration.InForce(config.registration)
    if found.state == "open" and _is_public(deployment):
        fix = "happyctl registration closed, when all who should have an account do"
        yield Check("registration", "warn", "everybody who reaches the server can make an account", fix)
    else:
        where = "" if found.state == "closed" else "; only this machine, or a proxy on it, reaches the server"
        yield Check("registration", "ok", f"it is {found.state}{where}")


def _is_public(deployment: Deployment) -> bool:
    """Whether others than this machine reach the server, as far as its settings, or the server, tell."""
    try:
        places = deployment.control.get("/status", SECONDS)["listening"]
    except CommandFailed:
        places = deployment.config.listen
    return bool(deployment.config.public_url) or not all(_LOCAL.search(place) for place in places)


def _backup(deployment: Deployment, database: BlockingDatabase) -> Iterator[Check]:
    if not database.transact(backups.recorded):
        return
    last = database.transact(backups.last)
    if last is None or last < time.time() * 1000 - LONG_AGO:
        yield Check(
            "backup", "warn", f"the last one was made: {age(last)}", "happyctl backup DIR --keep 7, daily"
        )
    else:
        yield Check("backup", "ok", f"the last one was made {age(last)}")


def _disk(config: Config) -> Iterator[Check]:
    place = next(
        one for one in (config.data_dir.absolute(), *config.data_dir.absolute().parents) if one.exists()
    )
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    if free < VERY_LITTLE:
        yield Check(
            "disk", "fail", f"{size(free)} are free", "make room: nothing can be stored on a full disk"
        )
    elif free < LITTLE:
        yield Check("disk", "warn", f"{size(free)} are free", "make room, or happyctl cleanup")
    else:
        yield Check("disk", "ok", f"{size(free)} are free")


def _descriptors() -> Iterator[Check]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < FEW_FILES:
        fix = "raise LimitNOFILE= of the unit, or ulimit -Hn"
        yield Check("open files", "warn", f"{hard} may be open, which is about as many clients", fix)
    else:
        yield Check("open files", "ok", "enough may be open")


def _exposed(config: Config) -> Iterator[Check]:
    weak = {
        "allow-weak-secret": config.allow_weak_secret,
        "accept-new-secret": config.accept_new_secret,
        "debug-log": config.debug_log,
    }
    for name in [name for name, on in weak.items() if on]:
        yield Check("weak settings", "warn", f"{name} is on", "switch it off when it is not needed any more")
    if config.metrics_enabled and config.metrics_host not in ("127.0.0.1", "::1", "localhost"):
        fix = "let only your monitoring reach that port"
        yield Check("weak settings", "warn", f"metrics are served on {config.metrics_host}", fix)
    if not any(weak.values()):
        yield Check("weak settings", "ok", "no setting lowers the guard")


def _push() -> Iterator[Check]:
    try:
        socket.create_connection(PUSH, SECONDS).close()
    except OSError as error:
        why = error.strerror or "it takes too long"
        yield Check("push", "warn", f"{PUSH[0]}: {why}", "allow https to it, or there are no notifications")
    else:
        yield Check("push", "ok", f"{PUSH[0]} is reachable")


def _objects(config: Config) -> Iterator[Check]:
    if not config.s3_host:
        return
    from happy.outbound.s3 import sizes

    try:
        yield Check("S3", "ok", f"the bucket has {len(sizes(config))} files")
    except StartupError as error:
        yield Check("S3", "fail", str(error), "check its settings, and whether this machine reaches it")


async def _time(tx: Transaction) -> float:
    ((found,),) = await tx.rows(CLOCK)
    return float(found)
