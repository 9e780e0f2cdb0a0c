"""``happyctl backup`` and ``happyctl restore``."""

from __future__ import annotations

from pathlib import Path

import click

from happy.backup.archive import SECRET, Manifest
from happy.operator.deployment import Deployment
from happy.operator.frame import Shown, Tool
from happy.operator.others import files_elsewhere, listed
from happy.operator.progress import Steps
from happy.operator.restoring import restore as put_back
from happy.operator.saving import save, thin_out
from happy.operator.text import number, size
from happy.operator.trouble import FAILED, FINE


@click.command(
    "backup",
    cls=Tool,
    examples=["backup /srv/backups --keep 7", "backup . --without-secret --json"],
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--keep", type=click.IntRange(1), help="Remove all backups in DIR but the latest so many.")
@click.option("--without-secret", is_flag=True, help="Leave the master secret out, and keep it elsewhere.")
@click.pass_obj
def backup(deployment: Deployment, folder: Path, keep: int | None, without_secret: bool) -> Shown:
    """Save everything in one file in DIR, and prove it.

    The server goes on meanwhile. The file has the database, the files and the master secret, so whoever can
    read it can be every user of this server: it is for its owner alone (mode 0600). It is proven by restoring
    it into a scratch database and counting. With S3 the files stay there, and the backup has their list.
    It may be made on any one of several nodes that share their files; it fails, and is made nevertheless,
    if others keep theirs elsewhere.
    """
    missing = files_elsewhere(deployment)
    with Steps() as steps:
        saved = save(deployment, folder, steps, with_secret=not without_secret)
    gone = thin_out(folder, keep) if keep else []
    manifest = saved.manifest
    document = {
        "file": str(saved.path),
        "bytes": saved.size,
        "accounts": manifest.tables["Account"],
        "messages": manifest.tables["SessionMessage"],
        "files": _number_of_files(manifest),
        "verified": True,
    }
    if missing:
        document["filesElsewhere"] = [node["name"] for node in missing]
    text = [
        f"{saved.path}: {size(saved.size)}, restored into a scratch database and counted",
        _described(manifest),
    ]
    if SECRET not in manifest.members:
        text.append("The master secret is not in it: keep a copy of that elsewhere.")
    if manifest.objects is not None:
        text.append("The files stayed in S3; their list is in it.")
    if missing:
        text.append(f"Files that were uploaded at {listed(missing)} are not in it: make a backup there too.")
    text += [f"Removed {path}" for path in gone]
    return Shown(document, text, FAILED if missing else FINE)


@click.command(
    "restore",
    cls=Tool,
    examples=[
        "restore happy-20260130-020000.tar --data-dir /var/lib/happy",
        "restore happy-20260130-020000.tar --database-url postgresql://happy@db/happy --data-dir /srv/happy",
    ],
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.pass_obj
def restore(deployment: Deployment, file: Path) -> Shown:
    """Restore a backup into a data folder, or a database, that is empty.

    The file is checked first. Whatever goes wrong, all is as before, and it can be run again.
    """
    with Steps() as steps:
        manifest = put_back(deployment, file, steps)
    document = {
        "accounts": manifest.tables["Account"],
        "sessions": manifest.tables["Session"],
        "messages": manifest.tables["SessionMessage"],
        "files": len(manifest.files),
    }
    where = "the database" if deployment.config.database_url else str(deployment.config.data_dir)
    text = [f"Restored into {where}", _described(manifest)]
    if SECRET not in manifest.members and not deployment.config.master_secret:
        text.append(
            "The backup has no master secret: before the start, put it into "
            f"{deployment.config.data_dir / 'master-secret'} (mode 0600), or set HANDY_MASTER_SECRET."
        )
    if manifest.objects:
        text.append(f"{len(manifest.objects)} files were in S3, and are where they were.")
    return Shown(document, text)


def _number_of_files(manifest: Manifest) -> int:
    return len(manifest.files) if manifest.objects is None else len(manifest.objects)


def _described(manifest: Manifest) -> str:
    tables = manifest.tables
    return (
        f"accounts: {number(tables['Account'])}, sessions: {number(tables['Session'])}, "
        f"messages: {number(tables['SessionMessage'])}, files: {number(_number_of_files(manifest))}"
    )
