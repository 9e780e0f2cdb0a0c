"""Files of accounts that somebody made who means harm: an operator is asked to bring them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from happy.backup.archive import HEAD, Archive, ArchiveWriter, Mark
from tests.harness import psql, scratch_database
from tests.operator.test_backup import ENVIRONMENT, fails, run
from tests.operator.test_cleanup import FILL


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def wrote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with a file of a session, and the account's file in it."""
    folder = tmp_path_factory.mktemp("origin")
    place = folder / "files" / "sessions" / "old" / "attachments"
    place.mkdir(parents=True)
    (place / "f").write_bytes(b"123")
    yield folder


@pytest.fixture
def honest(wrote: Path, capsys: pytest.CaptureFixture[str]) -> Archive:
    """A file as it should be."""
    file = wrote / "a.tar"
    if not file.exists():
        with scratch_database() as dsn:
            psql(dsn, FILL)
            run(capsys, "accounts", "export", "a", file, "--database-url", dsn, "--data-dir", wrote)
    return Archive(file, kind="account")


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    """The database of somebody else."""
    with scratch_database() as dsn:
        psql(dsn, """INSERT INTO "Account" ("id", "publicKey", "updatedAt") VALUES ('victim', 'v', now())""")
        yield dsn


def rows(archive: Archive, table: str) -> list[dict[str, Any]]:
    """The rows of a table in it."""
    content = archive.open(f"rows/{table}").read().replace(b"\\\\", b"\\")
    return [msgspec.json.decode(line) for line in content.splitlines()]


def forge(archive: Archive, path: Path, members: Mapping[str, bytes | None], account: str = "a") -> Path:
    """The same with other members, whole in itself."""
    with path.open("w+b") as file:
        writer = ArchiveWriter(file, Mark(1, "1", 1, "account"))
        for name in [*(archive.manifest.members.keys() - members.keys() - {HEAD}), *members]:
            writer.add(name, BytesIO(members.get(name) or archive.open(name).read()))
        changed = {"members": writer.members, "account": account}
        writer.finish(msgspec.structs.replace(archive.manifest, **changed))
    return path


def lines(*rows: Mapping[str, Any]) -> bytes:
    """Rows as COPY writes them."""
    return b"".join(msgspec.json.encode(row).replace(b"\\", b"\\\\") + b"\n" for row in rows)


FORGERIES = ["session", "folder", "file", "picture", "account", "second", "standing", "message"]


def forged(what: str, archive: Archive) -> Mapping[str, bytes]:
    """What somebody may have written into it."""
    (account,), sessions = rows(archive, "Account"), rows(archive, "Session")
    first, *others = sessions
    picture = {"id": "p", "accountId": "a", "path": "../../etc/passwd", "createdAt": "2026-01-01T00:00:00"}
    message, *_ = rows(archive, "SessionMessage")
    return {
        "session": {"rows/Session": lines({**first, "accountId": "victim"}, *others)},
        "folder": {"rows/Session": lines(*sessions, {**first, "id": "../../x", "tag": "x"})},
        "file": {"files/sessions/foreign/attachments/f": b"1"},
        "picture": {"rows/UploadedFile": lines({**picture, "updatedAt": "2026-01-01T00:00:00"})},
        "account": {"rows/Account": lines({**account, "id": "b"})},
        "second": {"rows/Account": lines(account, {**account, "id": "b", "publicKey": "b"})},
        "standing": {
            "rows/happy_accounts": lines({"accountId": "victim", "disabledAt": "2026-01-01T00:00:00"})
        },
        "message": {"rows/SessionMessage": lines({**message, "sessionId": "of-the-victim"})},
    }[what]


@pytest.mark.parametrize("what", FORGERIES)
def test_refused(
    what: str, honest: Archive, dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not the account's is refused with a line, and nothing of the file stays."""
    victim = """INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "updatedAt")
        VALUES ('of-the-victim', 'victim', 't', 'm', now()) ON CONFLICT DO NOTHING"""
    psql(dsn, victim)
    file = forge(honest, tmp_path / "forged.tar", forged(what, honest))
    data = tmp_path / "data"
    data.mkdir()
    said = fails(capsys, "accounts", "import", file, "--database-url", dsn, "--data-dir", data)
    assert "nothing was brought in" in said
    assert "damaged" in said
    assert psql(dsn, 'SELECT "id" FROM "Account"') == [("victim",)]
    assert psql(dsn, 'SELECT count(*) FROM "SessionMessage"') == [(0,)]
    assert psql(dsn, 'SELECT count(*) FROM "happy_accounts" WHERE "disabledAt" IS NOT NULL') == [(0,)]
    assert [path for path in data.rglob("*") if path.is_file()] == []


def test_there_and_back(
    honest: Archive, dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that was deleted here comes back; what was left of an import that was killed is no obstacle."""
    where = ("--database-url", dsn, "--data-dir", tmp_path)
    (tmp_path / "files" / ".incoming" / ".happy-moving-killed").mkdir(parents=True)
    for _ in range(2):
        assert run(capsys, "accounts", "import", honest.path, *where)["files"] == 1
        place = tmp_path / "files" / "sessions" / "old" / "attachments"
        assert (place / "f").read_bytes() == b"123"
        assert list((tmp_path / "files" / ".incoming").iterdir()) == []
        run(capsys, "accounts", "delete", "a", "--yes", *where)
