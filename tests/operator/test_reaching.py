"""The database of a server with an embedded PostgreSQL, while it runs and while it does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from happy.operator.deployment import Deployment
from happy.operator.trouble import NotReachable
from happy.postgres.orphans import living_server
from happy.storage.transaction import Transaction
from tests.operated import ROOT, Operated, operated


async def name_of_session(tx: Transaction) -> str:
    """What PostgreSQL calls the session."""
    ((name,),) = await tx.rows("SELECT current_setting('application_name')")
    return str(name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """A server with data, which runs."""
    folder = tmp_path_factory.mktemp("reaching")
    with operated(folder, environment={"METRICS_ENABLED": "false"}) as server:
        server.start()
        yield server


@pytest.fixture
def deployment(server: Operated) -> Deployment:
    """How it is found."""
    return Deployment({"data-dir": [str(server.folder / "data")]}, {})


def test_running(server: Operated, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's own PostgreSQL is used, whatever the shell says of other databases."""
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    with deployment.database() as database:
        assert database.transact(name_of_session) == "happyctl"
    assert server.answers()


def test_stopped(
    server: Operated, deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL is started for as long as it is needed, without anything of the folder that root is in.

    The server can start afterwards.
    """
    (tmp_path / "json.py").write_text("raise SystemExit('of somebody else')")
    monkeypatch.chdir(tmp_path)
    server.stop()
    postgres = server.folder / "data" / "postgres"
    owners = {path: path.stat().st_uid for path in (server.folder / "data").iterdir()}
    with deployment.database() as database:
        assert living_server(postgres)
        assert database.transact(name_of_session) == "happyctl"
    assert living_server(postgres) is None
    assert owners.items() <= {p: p.stat().st_uid for p in (server.folder / "data").iterdir()}.items()
    server.start()


def test_two_at_once(server: Operated, deployment: Deployment) -> None:
    """Who comes second uses the first one's PostgreSQL, which ends when both are done."""
    server.stop()
    postgres = server.folder / "data" / "postgres"
    entered, leave = threading.Event(), threading.Event()

    def second() -> None:
        with deployment.database() as database:
            entered.set()
            leave.wait()
            database.transact(name_of_session)

    thread = threading.Thread(target=second)
    with deployment.database():
        thread.start()
        assert entered.wait(30)
        threading.Timer(0.5, leave.set).start()  # by when the first one has ended
    thread.join()
    assert living_server(postgres) is None
    server.start()


def test_killed(server: Operated, deployment: Deployment) -> None:
    """However a command ends, PostgreSQL ends with it, and the next one starts it again."""
    server.stop()
    program = (
        "import os, signal; from happy.operator.deployment import Deployment\n"
        f"with Deployment({{'data-dir': [{str(server.folder / 'data')!r}]}}, {{}}).database():\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    with deployment.database() as database:
        assert database.transact(name_of_session) == "happyctl"
    server.start()


def test_killed_meanwhile(server: Operated) -> None:
    """Nor is anything said by what starts PostgreSQL for somebody who has gone, which ends by itself."""
    server.stop()
    options = {"folder": str(server.folder / "data" / "postgres"), "bin_dir": None, "connections": 4}
    command = [sys.executable, "-P", "-m", "happy.operator.hosting"]
    gone, listening = os.pipe()
    os.close(gone)
    host = subprocess.run(
        [*command, json.dumps({**options, "settings": None, "gives_way": False})],
        stdin=subprocess.DEVNULL,
        stdout=listening,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    os.close(listening)
    assert host.stderr == b""
    server.start()


def test_foreign_folder(tmp_path: Path) -> None:
    """A folder without a database is left as it is."""
    with (
        pytest.raises(NotReachable, match="no database"),
        Deployment({"data-dir": [str(tmp_path)]}).database(),
    ):
        pass
    assert not list(tmp_path.iterdir())
