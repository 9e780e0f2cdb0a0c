"""What all commands have in common, shown with one that counts accounts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from happy.operator import ctl
from happy.operator.deployment import Deployment
from happy.operator.frame import Shown, Tool, agreed, destroys
from happy.operator.trouble import CommandFailed
from happy.storage.transaction import Transaction
from tests.harness import psql, scratch_database


async def how_many(tx: Transaction) -> int:
    """How many accounts there are."""
    ((number,),) = await tx.rows('SELECT count(*) FROM "Account"')
    return int(number)


@click.command("count", cls=Tool, examples=["count --json"])
@destroys
@click.option("--fail", is_flag=True)
@click.pass_obj
def count(deployment: Deployment, yes: bool, dry_run: bool, fail: bool) -> Shown:
    """Count the accounts."""
    with deployment.database() as database:
        number = database.transact(how_many)
    if fail:
        raise CommandFailed("there are accounts")
    agreed(f"{number} accounts are counted", yes=yes, dry_run=dry_run)
    return Shown({"accounts": number}, [f"{number} accounts"])


@pytest.fixture(autouse=True)
def _offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is one of happyctl's, and no other server is found by chance."""
    monkeypatch.setitem(ctl.happyctl.commands, "count", count)
    for name in ("HAPPY_CONFIG", "DATA_DIR", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    """The database of a server that does not run."""
    with scratch_database() as dsn:
        yield dsn


def test_document(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the output is one document; without it is text."""
    assert ctl.main(["count", "--yes", "--database-url", dsn, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"accounts": 0}
    assert ctl.main(["count", "--yes", "--database-url", dsn]) == 0
    assert capsys.readouterr().out == "0 accounts\n"


def test_precedence(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An option wins over the environment, that over the file; options may stand before the command too."""
    file = tmp_path / "happy.toml"
    file.write_text('database-url = "postgresql://nowhere.invalid/file"\n')
    assert ctl.main(["--config", str(file), "count", "--yes"]) == 3
    assert "nowhere.invalid" in capsys.readouterr().err
    monkeypatch.setenv("DATABASE_URL", dsn)
    assert ctl.main(["--config", str(file), "count", "--yes"]) == 0
    monkeypatch.setenv("DATABASE_URL", "postgresql://nowhere.invalid/environment")
    assert ctl.main(["count", "--yes", "--config", str(file), "--database-url", dsn]) == 0


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["nonsense"], 2, "no such command 'nonsense'; happyctl --help"),
        (["count", "--nonsense"], 2, "no such option '--nonsense'"),
        (["count", "extra"], 2, "happyctl count --help"),
        (["count", "--config", "/nowhere.toml"], 2, "/nowhere.toml cannot be read"),
        (["count", "--data-dir", "/nowhere"], 3, "there is no database in /nowhere/postgres"),
        (["count", "--database-url", "postgresql://127.0.0.1:1/x"], 3, "the database is not reachable"),
        (["count", "--database-url", "nonsense://x"], 2, "be a URL that begins with"),
    ],
)
def test_trouble(arguments: list[str], status: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong is said in one line, and the exit status tells the kind."""
    assert ctl.main(arguments) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("happyctl: ")
    assert err.count("\n") == 1
    assert says in err


def test_failure(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A command that fails says why and ends with 1."""
    assert ctl.main(["count", "--fail", "--database-url", dsn]) == 1
    assert capsys.readouterr().err == "happyctl: there are accounts\n"


def test_nobody_to_ask(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody can be asked, what destroys wants --yes, and says what would go."""
    assert ctl.main(["count", "--database-url", dsn]) == 2
    assert "0 accounts are counted; say --yes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("""DELETE FROM "happy_migrations" WHERE "version" > 2""", "has not the tables of this version"),
        ("""INSERT INTO "happy_migrations" VALUES (9999, 'later', now())""", "a newer version"),
        ("""DROP TABLE "happy_migrations" """, "has not the tables of this version"),
    ],
)
def test_other_schema(sql: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A database of another version is left alone."""
    with scratch_database() as dsn:
        psql(dsn, sql)
        assert ctl.main(["count", "--database-url", dsn]) == 1
    assert says in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command has a line in the list, and help with its examples."""
    assert ctl.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(str(command.name) in shown for command in ctl.COMMANDS)
    assert ctl.main(["count", "--help"]) == 0
    assert "  happyctl count --json\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", ctl.COMMANDS, ids=lambda command: str(command.name))
def test_command_is_described(command: click.Command) -> None:
    """Every command says what it does, and every one about a server shows how it is used."""
    for one in command.commands.values() if isinstance(command, click.Group) else [command]:
        assert one.help
        assert not isinstance(one, Tool) or one.epilog, one.name
