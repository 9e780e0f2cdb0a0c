"""``happyctl accounts export`` and ``happyctl accounts import``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

import click

import happy
from happy.backup.account import Owned, Taken, bring_in, owned, owned_within, write_rows
from happy.backup.archive import FILES, Archive, ArchiveWriter, BadBackup, Manifest, Mark
from happy.backup.places import flush, new_file, workshop
from happy.base.private_folders import PRIVATE, make_folder
from happy.keys.master_secret import kept
from happy.keys.tokens import Keys
from happy.keys.vault import Unsealable, Vault, github_path, vendor_path
from happy.operator.deployment import Deployment
from happy.operator.frame import Shown, Tool
from happy.operator.naming import account_named
from happy.operator.others import files_elsewhere, listed
from happy.operator.progress import Steps
from happy.operator.text import number, size
from happy.operator.trouble import FAILED, FINE, CommandFailed
from happy.settings.declaration import BadSetting
from happy.storage import access, secrets
from happy.storage.dsn import parse_target
from happy.storage.migrate import load_migrations, newest_applied

if TYPE_CHECKING:
    from happy.settings.config import Config
    from happy.storage.blocking import BlockingDatabase
    from happy.storage.transaction import Transaction

_WORKSHOP = ".happy-moving-"
_CHUNK = 1024 * 1024


@click.command("export", cls=Tool, examples=["accounts export cm4x2b /root/ada.tar"])
@click.argument("account", metavar="ID")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def export(deployment: Deployment, account: str, file: Path) -> Shown:
    """Write one account with everything into a file, for another server.

    The account stays here as it is. Friendships stay behind. Vendor tokens go along as they are sealed: the
    other server opens them only with the secret of this one (accounts import --from-secret).
    """
    missing = files_elsewhere(deployment)
    try:
        with Steps() as steps, deployment.database() as database, workshop(file.parent, _WORKSHOP) as place:
            found = account_named(database, account)
            draft = place / "account.tar"
            with os.fdopen(new_file(draft), "r+b") as opened:
                manifest = _write(deployment.config, database, found, opened, steps, place)
            written = draft.stat().st_size
            os.link(draft, file)
            flush(file.parent)
    except FileExistsError:
        raise CommandFailed(f"nothing was written: {file} exists") from None
    except OSError as error:
        raise CommandFailed(f"nothing was written: {error.filename or file}: {error.strerror}") from None
    document, text = _document(manifest, written), [f"{file}: {size(written)}", _described(manifest)]
    if missing:
        document["filesElsewhere"] = [node["name"] for node in missing]
        text.append(f"Files that were uploaded at {listed(missing)} are not in it.")
    return Shown(document, text, FAILED if missing else FINE)


def _write(
    config: Config, database: BlockingDatabase, account: str, file: BinaryIO, steps: Steps, place: Path
) -> Manifest:
    created = int(time.time() * 1000)
    writer = ArchiveWriter(file, Mark(1, happy.__version__, created, "account"), steps.told)
    steps.begin("Writing the account")
    tables = write_rows(database, account, writer, place)
    there = owned(database, account)
    steps.begin("Writing files")
    for path in _paths(config, there.sessions, there.files):
        try:
            content = _opened(config, path)
        except FileNotFoundError:
            continue
        with closing(content):
            writer.add(f"{FILES}{path}", content)
    manifest = Manifest(
        server=happy.__version__,
        created_at=created,
        postgres="",
        programs=0,
        schema=parse_target(database.dsn).schema,
        migration=database.transact(newest_applied),
        fingerprint=None,
        tables=tables,
        members=dict(writer.members),
        account=account,
    )
    writer.finish(manifest)
    os.fsync(file.fileno())
    return manifest


def _paths(config: Config, sessions: list[str], files: list[str]) -> Iterator[str]:
    """The paths of an account's files."""
    yield from files
    for session in sessions:
        prefix = f"sessions/{session}/"
        if config.s3_host:
            from happy.outbound import s3

            yield from s3.sizes(config, prefix)
            continue
        root = config.data_dir / "files"
        for path in sorted((root / prefix).rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield str(path.relative_to(root))


def _opened(config: Config, path: str) -> IO[bytes]:
    if config.s3_host:
        from happy.outbound import s3

        return s3.opened(config, path)
    return (config.data_dir / "files" / path).open("rb")


@click.command(
    "import",
    cls=Tool,
    examples=["accounts import ada.tar", "accounts import ada.tar --from-secret old-master-secret"],
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--from-secret",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The master secret of the server that it comes from, to take vendor tokens along.",
)
@click.pass_obj
def import_account(deployment: Deployment, file: Path, from_secret: Path | None) -> Shown:
    """Bring in an account that another server wrote, all of it or nothing.

    Its keys log in here from then on, and its devices find everything once they have this address and
    have logged in. The server may run meanwhile. Vendor tokens that cannot be opened are left out, and said.
    """
    config = deployment.config
    try:
        with Steps() as steps:
            steps.begin("Checking the file", file.stat().st_size)
            archive = Archive(file, steps.told, "account")
            if archive.manifest.migration > load_migrations()[-1].version:
                raise CommandFailed(f"nothing was brought in: {file} is of a later version of this server")
            with deployment.database() as database, _Files(config, archive, steps) as files:
                ours, theirs = _ours(config, database), _theirs(from_secret)
                left = bring_in(database, archive, lambda tx: _seal_anew(tx, archive, ours, theirs, files))
    except (Taken, BadBackup) as refused:
        raise CommandFailed(f"nothing was brought in: {refused}") from None
    except OSError as error:
        where = error.filename or deployment.config.data_dir
        raise CommandFailed(f"nothing was brought in: {where}: {error.strerror}") from None
    manifest = archive.manifest
    document = _document(manifest, file.stat().st_size) | {"left": left}
    return Shown(document, [_described(manifest), *(f"Left out: {line}" for line in left)])


class _Files:
    """The files of an account on their way in: first beside those of the disk, or into S3 at once.

    What was moved to its place goes again when the context ends with an error.
    """

    def __init__(self, config: Config, archive: Archive, steps: Steps) -> None:
        self._config = config
        self._archive = archive
        self._steps = steps
        self._made: list[Path] = []
        self._folders: set[Path] = set()
        self._place = ExitStack()

    def __enter__(self) -> _Files:
        return self

    def put(self, owned: Owned) -> None:
        """Store all of them. Raises OSError, and BadBackup when one is not among what the account has."""
        self._steps.begin("Bringing files")
        folders = {f"sessions/{session}" for session in owned.sessions}
        for path in self._archive.manifest.files:
            if path not in owned.files and "/".join(path.split("/")[:2]) not in folders:
                raise BadBackup(f"{self._archive.path} is damaged: {path} is not of its account")
        for path in self._archive.manifest.files:
            with closing(self._archive.open(f"{FILES}{path}")) as content:
                self._put(path, content, self._archive.manifest.members[f"{FILES}{path}"].bytes)

    def _put(self, path: str, content: IO[bytes], length: int) -> None:
        """Store one, whole or not at all: what is there already is from an import that was interrupted."""
        if self._config.s3_host:
            from happy.outbound import s3

            s3.put(self._config, path, content, length)
            return
        target = self._config.data_dir / "files" / path
        if target.exists():
            return
        self._make(target.parent)
        draft = self._workshop / target.name
        with os.fdopen(new_file(draft), "wb") as opened:
            while chunk := content.read(_CHUNK):
                opened.write(chunk)
                self._steps.told(len(chunk))
            opened.flush()
            os.fsync(opened.fileno())
        self._made.append(target)
        os.rename(draft, target)
        flush(target.parent)

    @cached_property
    def _workshop(self) -> Path:
        """On the same file system, where servers keep uploads that are not complete."""
        incoming = self._config.data_dir / "files" / ".incoming"
        self._make(incoming)
        return self._place.enter_context(workshop(incoming, _WORKSHOP))

    def _make(self, folder: Path) -> None:
        make_folder(folder, PRIVATE)
        self._folders |= {folder, *folder.parents}

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._place.close()
        if error is not None:
            for path in self._made:
                path.unlink(missing_ok=True)
            self._made.clear()
        if os.geteuid() == 0:
            self._give_away()

    def _give_away(self) -> None:
        """Let what was made belong to the owner of the data folder, as what the server makes does."""
        owner, root = self._config.data_dir.stat(), self._config.data_dir / "files"
        for path in (*self._made, *(folder for folder in self._folders if folder.is_relative_to(root))):
            os.lchown(path, owner.st_uid, owner.st_gid)


def _ours(config: Config, database: BlockingDatabase) -> Vault | None:
    """What seals credentials here; None without the secret. Raises CommandFailed for another one."""
    try:
        secret = kept(config)
    except BadSetting as wrong:
        raise CommandFailed(f"nothing was brought in: {wrong}") from None
    if secret is None:
        return None
    keys = Keys.derive(secret)
    used = next((one for one in database.transact(secrets.known) if one.in_use), None)
    if used is not None and used.public_key != keys.public_key:
        raise CommandFailed(
            "nothing was brought in: the master secret that is set here is not the one of the data"
        )
    return Vault(keys.vault_master)


def _theirs(secret: Path | None) -> Vault | None:
    """What opens credentials of the other server, if its secret is given."""
    return None if secret is None else Vault(Keys.derive(secret.read_text().rstrip("\r\n")).vault_master)


async def _seal_anew(
    tx: Transaction, archive: Archive, ours: Vault | None, theirs: Vault | None, files: _Files
) -> list[str]:
    """Bring sealed credentials under this server's secret, or leave them out; then store the files."""
    assert archive.manifest.account is not None
    left = 0
    for row in await secrets.sealed_of_account(tx, archive.manifest.account):
        path = github_path(row.account) if row.vendor is None else vendor_path(row.account, row.vendor)
        if ours is not None and _opens(ours, path, row.sealed) is not None:
            continue
        text = None if theirs is None else _opens(theirs, path, row.sealed)
        if text is None or ours is None:
            await secrets.forget_sealed(tx, row)
            left += 1
        else:
            await secrets.reseal(tx, row, ours.seal(path, text))
    await access.changed(tx)
    files.put(await owned_within(tx, archive.manifest.account))
    return [f"{left} vendor tokens, {_why_left(ours)}"] if left else []


def _why_left(ours: Vault | None) -> str:
    if ours is None:
        return "since the master secret of this server is not at hand (HANDY_MASTER_SECRET)"
    return "which are sealed with another secret (--from-secret)"


def _opens(vault: Vault, path: tuple[str, ...], sealed: bytes) -> str | None:
    try:
        return vault.open(path, sealed)
    except Unsealable:
        return None


def _document(manifest: Manifest, length: int) -> dict[str, object]:
    return {
        "id": manifest.account,
        "sessions": manifest.tables["Session"],
        "messages": manifest.tables["SessionMessage"],
        "files": len(manifest.files),
        "bytes": length,
    }


def _described(manifest: Manifest) -> str:
    tables = manifest.tables
    return (
        f"{manifest.account}; sessions: {number(tables['Session'])}, messages: "
        f"{number(tables['SessionMessage'])}, machines: {number(tables['Machine'])}, "
        f"files: {number(len(manifest.files))}"
    )
