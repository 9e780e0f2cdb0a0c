"""Backups of servers with people on them, and what comes back."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from happy.backup.archive import Archive
from happy.client import AccountKeys
from happy.operator import ctl
from happy.storage.ahead import AHEAD
from tests.harness import psql, scratch_database
from tests.operated import ROOT, Operated, operated

QUIET = {"METRICS_ENABLED": "false"}
SECRET = "9d0e5c1f7a3b48e2b6f0a1d4c7e89352"
ENVIRONMENT = ("HAPPY_CONFIG", "DATA_DIR", "DATABASE_URL", "HANDY_MASTER_SECRET")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other server is found by chance."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


class Person:
    """Somebody with an account on a server."""

    def __init__(self, server: Operated) -> None:
        self.keys = AccountKeys.generate()
        self.token = self.ask(server, "/v1/auth", self.keys.login())["token"]
        made = self.ask(server, "/v1/sessions", {"tag": "t", "metadata": "m"})
        self.session = made["session"]["id"]
        self.messages = f"/v3/sessions/{self.session}/messages"
        self.say(server, "c2VhbGVk")

    def ask(self, server: Operated, path: str, body: Any = None) -> Any:
        """What the server answers."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        if hasattr(self, "token"):
            headers["authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(server.url + path, content, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def say(self, server: Operated, content: str) -> int:
        """Send a message; its number."""
        sent = {"messages": [{"content": content, "localId": content}]}
        return int(self.ask(server, self.messages, sent)["messages"][0]["seq"])

    def heard(self, server: Operated) -> list[int]:
        """The numbers of all messages."""
        return [message["seq"] for message in self.ask(server, self.messages)["messages"]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """A server with an embedded database, which runs."""
    with operated(tmp_path_factory.mktemp("backup"), environment=QUIET) as server:
        server.start()
        yield server


@pytest.fixture(scope="module")
def person(server: Operated) -> Person:
    """Somebody who sent a message and a file."""
    person = Person(server)
    place = server.folder / "data" / "files" / "sessions" / person.session / "attachments"
    place.mkdir(parents=True)
    (place / "file").write_bytes(b"sealed")
    return person


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """The document of a command that goes well."""
    status = ctl.main([*map(str, arguments), "--json"])
    said = capsys.readouterr()
    assert status == 0, said.err
    return json.loads(said.out)


def fails(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 1) -> str:
    """The one line of a command that does not."""
    assert ctl.main(list(map(str, arguments))) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


@pytest.fixture(scope="module")
def saved(server: Operated, person: Person, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A backup of the running server, and what was said of it."""
    folder = tmp_path_factory.mktemp("saved")
    command = [sys.executable, "-m", "happy.operator.ctl", "backup", str(folder), "--json"]
    done = subprocess.run(
        [*command, "--data-dir", str(server.folder / "data")],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_what_is_made(saved: dict[str, Any]) -> None:
    """One file, for nobody else, and what is in it."""
    path = Path(saved["file"])
    counts = {"accounts": 1, "messages": 1, "files": 1}
    assert saved == {"file": str(path), "bytes": path.stat().st_size, "verified": True, **counts}
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_server_moves(
    server: Operated,
    person: Person,
    saved: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What a running server had goes on elsewhere: the same tokens, numbers and files, of the same owners."""
    with operated(tmp_path, environment=QUIET) as other:
        there = run(capsys, "restore", saved["file"], "--data-dir", tmp_path / "data")
        assert there == {"accounts": 1, "sessions": 1, "messages": 1, "files": 1}
        files = Path("files", "sessions", person.session, "attachments", "file")
        assert (tmp_path / "data" / files).read_bytes() == b"sealed"
        assert "is not empty" in fails(capsys, "restore", saved["file"], "--data-dir", tmp_path / "data")
        other.start()
        assert person.heard(other) == [1]
        assert person.say(other, "bW9yZQ==") == AHEAD + 2
        assert other.stop()[0] == 0
    before, after = server.folder / "data", tmp_path / "data"
    for name in ("files", "postgres", "master-secret"):
        assert (before / name).stat().st_mode == (after / name).stat().st_mode
        assert (before / name).stat().st_uid == (after / name).stat().st_uid


def test_an_external_database(
    saved: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A backup of an embedded database goes into an empty external one, and comes from there again."""
    data, path = ("--data-dir", tmp_path / "data"), saved["file"]
    with scratch_database(migrated=False) as dsn:
        assert run(capsys, "restore", path, "--database-url", dsn, *data)["messages"] == 1
        assert 'has "AccessKey"' in fails(
            capsys, "restore", path, "--database-url", dsn, "--data-dir", tmp_path / "other"
        )
        assert not (tmp_path / "other").exists()
        old = [tmp_path / f"happy-2020010{day}-000000.tar" for day in (1, 2)]
        for one in old:
            one.touch()
        made = run(capsys, "backup", tmp_path, "--database-url", dsn, *data, "--keep", 2)
        assert (made["messages"], made["files"]) == (1, 1)
        assert sorted(tmp_path.glob("happy-*")) == [old[1], Path(made["file"])]
        assert psql(dsn, 'SELECT count(*) FROM "happy_backups"') == [(1,)]


def test_the_secret(
    server: Operated,
    saved: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is in the backup unless that is not wanted; a missing or a wrong one is noticed when it is made."""
    with scratch_database() as dsn:
        given = ("backup", tmp_path, "--database-url", dsn, "--data-dir", tmp_path / "none")
        assert "say --without-secret" in fails(capsys, *given)
        assert not list(tmp_path.iterdir())
        path = Path(run(capsys, *given, "--without-secret")["file"])
    assert Archive(Path(saved["file"])).has("master-secret")
    assert not Archive(path).has("master-secret")
    monkeypatch.setenv("HANDY_MASTER_SECRET", "another secret, not that of the data")
    refused = fails(capsys, "backup", tmp_path, "--data-dir", server.folder / "data")
    assert "is not the one of the data" in refused
    refused = fails(capsys, "restore", saved["file"], "--data-dir", tmp_path / "data")
    assert "HANDY_MASTER_SECRET is another secret" in refused
    assert not (tmp_path / "data").exists()


def finds_no_room(blocks: int, *arguments: object) -> str:
    """The one line of a command that may write files of so many blocks of 512 bytes, and fails."""
    command = [sys.executable, "-m", "happy.operator.ctl", *map(str, arguments)]
    done = subprocess.run(
        ["sh", "-c", f'ulimit -f {blocks}; exec "$0" "$@"', *command],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 1
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    return done.stderr


def test_a_full_disk(server: Operated, person: Person, tmp_path: Path) -> None:
    """What finds no room leaves nothing behind, and says so in a line."""
    said = finds_no_room(20, "backup", tmp_path, "--data-dir", server.folder / "data")
    assert said == f"happyctl: no backup was made: {tmp_path}: File too large\n"
    assert not list(tmp_path.iterdir())


def test_no_room_to_restore(saved: dict[str, Any], tmp_path: Path) -> None:
    """A database that cannot be made leaves nothing behind either, and PostgreSQL's own reason is told."""
    said = finds_no_room(200, "restore", saved["file"], "--data-dir", tmp_path / "data")
    assert said.startswith(f"happyctl: nothing was restored: cannot make the database in {tmp_path}/data/")
    assert "removing contents" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", [fcntl.LOCK_EX, fcntl.LOCK_SH])
def test_two_at_once(
    how: int, saved: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While somebody restores into a folder, or a server starts in it, nobody else restores there."""
    held = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(held, how)
        said = fails(capsys, "restore", saved["file"], "--data-dir", tmp_path)
    finally:
        os.close(held)
    why = f"a server, or another restore, uses {tmp_path} at present"
    assert said == f"happyctl: nothing was restored: {why}\n"
    assert not list(tmp_path.iterdir())


def test_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A foreign file is refused before anything is made; one that is not there is wrong usage."""
    other = tmp_path / "other"
    other.write_bytes(b"x" * 2000)
    data = ("--data-dir", tmp_path / "data")
    assert "no backup of this server" in fails(capsys, "restore", other, *data)
    assert "does not exist" in fails(capsys, "restore", tmp_path / "none", *data, status=2)
    assert list(tmp_path.iterdir()) == [other]


def test_no_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no database nothing is made, not even the folder."""
    new = tmp_path / "new" / "backups"
    assert "no database" in fails(capsys, "backup", new, "--data-dir", tmp_path / "none", status=3)
    assert not list(tmp_path.iterdir())
