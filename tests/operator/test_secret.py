"""A server gets another secret, and the people on it stay logged in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from happy.keys.tokens import Keys
from happy.operator import ctl
from tests.harness import psql, scratch_database
from tests.operated import Operated, operated
from tests.operator.test_backup import ENVIRONMENT, QUIET, SECRET, Person, fails, run


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other server is found by chance."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """A server with an embedded database, which runs."""
    with operated(tmp_path_factory.mktemp("secret"), environment=QUIET) as server:
        server.start()
        yield server


def states(capsys: pytest.CaptureFixture[str], server: Operated) -> dict[str, str]:
    """What the doctor says of each matter."""
    ctl.main(["doctor", "--json", "--data-dir", str(server.folder / "data")])
    return {check["name"]: check["state"] for check in json.loads(capsys.readouterr().out)["checks"]}


def test_rotation(server: Operated, capsys: pytest.CaptureFixture[str]) -> None:
    """Tokens of before hold for the time of grace, and vendor tokens go along."""
    person, data = Person(server), server.folder / "data"
    person.ask(server, "/v1/connect/openai/register", {"token": "mine"})
    before = (data / "master-secret").read_text()
    given = ("secret", "rotate", "--data-dir", data)
    said = run(capsys, *given, "--dry-run")
    assert (said["accounts"], said["vendorTokens"]) == (1, 1)
    assert "say --yes" in fails(capsys, *given, status=2)
    assert (data / "master-secret").read_text() == before
    made = run(capsys, *given, "--yes", "--grace", "2h")
    assert (made["graceMs"], made["file"]) == (7_200_000, str(data / "master-secret"))
    assert (data / "master-secret").stat().st_mode & 0o777 == 0o600
    assert "is not the one in use" in fails(capsys, *given, "--yes")
    assert states(capsys, server)["secret and data"] == "warn"
    assert person.heard(server) == [1]
    assert server.stop()[0] == 0
    server.start()
    assert states(capsys, server)["secret and data"] == "ok"
    assert person.heard(server) == [1]
    assert person.ask(server, "/v1/connect/openai/token")["token"] == "mine"
    assert person.ask(server, "/v1/auth", person.keys.login())["token"] != person.token


def test_a_secret_that_is_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the environment has the secret, the new one is a file beside, which nothing reads by itself."""
    monkeypatch.setenv("HANDY_MASTER_SECRET", SECRET)
    with scratch_database() as dsn:
        given = ("secret", "rotate", "--yes", "--database-url", dsn, "--data-dir", tmp_path)
        assert "start it once" in fails(capsys, *given)
        keys = Keys.derive(SECRET)
        psql(
            dsn,
            'INSERT INTO "happy_secrets" ("publicKey", "createdAt", "since") VALUES (%s, now(), now())',
            (keys.public_key,),
        )
        path = Path(run(capsys, *given)["file"])
        assert path == tmp_path / "master-secret.next"
        assert path.stat().st_mode & 0o777 == 0o600
        assert psql(dsn, 'SELECT count(*) FROM "happy_secrets" WHERE "since" IS NULL') == [(1,)]
