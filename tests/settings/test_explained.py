"""What people are told of the settings."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.settings.config import SHOWN
from happy.settings.explained import MASKED, example, explain, masked
from happy.settings.loading import load

BY_NAME = {one.name: one for one in SHOWN}
PASSWORD = "Wx3@kL/9p#Vq%Zt!"


def test_sources(tmp_path: Path) -> None:
    """Each setting is listed once, with the source that won."""
    file = tmp_path / "happy.toml"
    file.write_text("port = 1\nhost = '127.0.0.1'\nlog-level = 'warn'\n")
    environment = {"HAPPY_CONFIG": str(file), "HAPPY_LOG_LEVEL": "error", "PORT": "2"}
    found = explain({"port": ["3"]}, environment)
    assert (found.warnings, found.refusals) == ([], [])
    by_name = {one.name: one for one in found.settings}
    assert len(by_name) == len(found.settings) == len([one for one in SHOWN if one.used])
    assert by_name["port"][1:] == ("3", "the option --port")
    assert by_name["log-level"][1:] == ("error", "the environment variable HAPPY_LOG_LEVEL")
    assert by_name["host"][1:] == ("127.0.0.1", f"the file {file}")
    assert by_name["data-dir"][1:] == ("data", "the default")


def test_warnings(tmp_path: Path) -> None:
    """What is unknown, set by half or without effect is named; none of that stops a start."""
    environment = {
        "HAPPY_CONFIG": str(tmp_path / "happy.toml"),
        "HAPPY_LISTENS": "x",
        "S3_HOST": "s3",
        "HAPPY_METRICS_HOST": "!",
        "METRICS_ENABLED": "no",
        "GITHUB_CLIENT_ID": "x",
        "GITHUB_APP_ID": "x",
    }
    (tmp_path / "happy.toml").write_text("prot = 1")
    found = explain({}, environment)
    load({}, environment)
    assert not found.refusals
    for name in (
        "HAPPY_LISTENS",
        "'prot'",
        "s3-bucket",
        "metrics-host",
        "github-client-secret",
        "github-app-id",
    ):
        assert any(name in line for line in found.warnings), name


def test_everything_that_is_wrong_at_once(tmp_path: Path) -> None:
    """All wrong values are told, not the first alone; a file that cannot be read is."""
    found = explain({"port": ["x"], "host": ["!"]}, {})
    assert [line.partition(":")[0] for line in found.refusals] == ["port", "host"]
    assert "cannot be read" in explain({"config": [str(tmp_path / "none")]}, {}).refusals[0]
    assert "database-url" in explain({}, {"DB_PROVIDER": "postgres"}).refusals[0]


@pytest.mark.parametrize("one", [one for one in SHOWN if one.secret], ids=lambda one: one.name)
def test_no_secret_is_shown(one: object) -> None:
    """Of secrets nothing is shown, however they are written."""
    setting = BY_NAME[one.name]  # type: ignore[attr-defined]
    for text in (PASSWORD, f"postgresql://ada:{PASSWORD}@host/db", f"postgresql://{PASSWORD}"):
        shown = masked(setting, text)
        assert not any(PASSWORD[at : at + 4] in shown for at in range(len(PASSWORD) - 3))


def test_addresses_of_databases() -> None:
    """Where a database is may be seen, and how one logs in may not."""
    shown = masked(BY_NAME["database-url"], "postgresql://ada:secret@host:5/db?password=secret")
    assert shown == f"postgresql://ada:{MASKED}@host:5/db?..."


@given(st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=8))
def test_passwords_of_any_kind(password: str) -> None:
    """Whatever is in a password, it is not shown with what is around it."""
    shown = masked(BY_NAME["database-url"], f"postgresql://u:{password}zzz@h")
    assert "zzz" not in shown


def test_example(tmp_path: Path) -> None:
    """The example changes nothing; with its lines in force it names each setting, and defaults hold."""
    assert tomllib.loads(example()) == {}
    lines = [line[1:] for line in example().splitlines() if line.startswith("#") and line[1:2] not in " #"]
    given = tomllib.loads("\n".join(lines))
    assert given.keys() == {one.name for one in SHOWN if one.used} - {"config"}
    defaults = [line for line in lines if BY_NAME[line.partition(" ")[0]].default_text]
    file = tmp_path / "happy.toml"
    file.write_text("\n".join(defaults))
    assert load({"config": [str(file)]}, {}) != load({}, {})
    assert not explain({"config": [str(file)]}, {}).refusals
