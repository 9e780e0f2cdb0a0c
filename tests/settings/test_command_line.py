"""Settings on the command line, and its help."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]

from happy.settings.command_line import Options
from happy.settings.config import SHOWN, Config
from happy.settings.declaration import GROUPS


def parsed(*arguments: str, **environment: str) -> Config:
    """What the command line makes of its arguments."""
    options = Options(environment)
    options.parseOptions(list(arguments))
    return options.config


def test_command_line() -> None:
    """Options reach the configuration; flags need no value; repeatable ones add up."""
    config = parsed("--port=4", "--update-prompt", "--listen=tcp:1", "--listen", "tcp:2", PORT="5")
    assert (config.port, config.update_prompt, config.listen) == (4, True, ("tcp:1", "tcp:2"))


def test_command_line_refuses_in_one_line() -> None:
    """A wrong setting ends the program with its line, without a page of help."""
    with pytest.raises(SystemExit) as caught:
        parsed(PORT="x")
    assert str(caught.value.code).startswith("happy: port: 'x' from the environment variable PORT must")


def test_help_lists_every_setting() -> None:
    """The help text has each option with its variable and, where there is one, its default."""
    out = io.StringIO()
    with pytest.raises(SystemExit), redirect_stdout(out), redirect_stderr(out):
        parsed("--help")
    words = out.getvalue().replace("\n", "").replace(" ", "")
    for one in SHOWN:
        assert f"--{one.name}" in words
        assert f"[{one.environment[0]}" in words
    assert "default3005" in words
    assert "SHORTCUTS" not in words


@pytest.mark.parametrize("columns", [80, 300])
def test_help_is_readable(columns: int) -> None:
    """The groups stand in their order, and no line is longer than the terminal, or than one can read."""
    lines = Options({}).getUsage(columns).splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert [line[:-1].lower() for line in headings] == list(GROUPS)
    assert max(len(line) for line in lines) <= min(columns, 100)


def test_environment_is_the_default() -> None:
    """Without another environment, the process's own one is read."""
    assert Options()._environment is os.environ


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("HAPPY_LOG_LEVLE", "; did you mean HAPPY_LOG_LEVEL?"),
        ("HAPPY_PORT", "; did you mean PORT?"),
        ("HAPPY_WEBAPP", "; did you mean HAPPY_STATIC_DIR?"),
        ("HAPPY_XYZZY", ""),
    ],
)
def test_misspelt_variables(variable: str, hint: str) -> None:
    """A variable that was meant as a setting is told in one line, and stops nothing."""
    errors = io.StringIO()
    with redirect_stderr(errors):
        parsed(**{variable: "1"})
    assert errors.getvalue() == f"happy: the environment variable {variable} is no setting{hint}\n"


@pytest.mark.parametrize("mark", ['"', "'"])
def test_quotation_marks(mark: str) -> None:
    """Those that a shell would have taken away are told, whether the value can be used with them or not."""
    errors = io.StringIO()
    with redirect_stderr(errors):
        config = parsed(
            DATA_DIR=f"{mark}data{mark}\n", HANDY_MASTER_SECRET=f"{mark}{'0123456789ab' * 4}{mark}"
        )
    assert config.data_dir == Path(f"{mark}data{mark}")
    told = "the quotation marks around the value of the environment variable DATA_DIR are a part of it"
    assert errors.getvalue() == f"happy: {told}\n"
    with pytest.raises(
        SystemExit, match="must be a whole number .*, without quotation marks around it, for "
    ):
        parsed(PORT=f"{mark}3005{mark}")


def test_unknown_keys_are_told(tmp_path: Path) -> None:
    """So is a key of the file."""
    file = tmp_path / "happy.toml"
    file.write_text("prot = 1")
    errors = io.StringIO()
    with redirect_stderr(errors):
        parsed(HAPPY_CONFIG=str(file))
    assert errors.getvalue() == f"happy: {file} sets 'prot', which is no setting; did you mean port?\n"


def test_variables_of_clients() -> None:
    """What the clients or this server know, or a cluster says of its services, is not told."""
    errors = io.StringIO()
    with redirect_stderr(errors):
        parsed(
            HAPPY_SERVER_URL="http://h",
            HAPPY_HOME_DIR="/h",
            HAPPY_SHORTCUTS="true",
            HAPPY_RECOVERY="0",
            HAPPY_PORT="tcp://192.0.2.7:3005",
            HAPPY_PORT_3005_TCP_ADDR="192.0.2.7",
            HAPPY_SERVICE_HOST="192.0.2.7",
            HAPPY_SERVER_SERVICE_PORT_HTTP="3005",
            X="1",
        )
    assert errors.getvalue() == ""


@pytest.mark.parametrize("columns", ["", "x", "7"])
def test_help_of_any_terminal(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is said of the terminal, there is help."""
    monkeypatch.setenv("COLUMNS", columns)
    assert "--data-dir=" in Options({}).getUsage()


def test_nobodys_home() -> None:
    """A folder of somebody who does not exist is refused in one line."""
    with pytest.raises(SystemExit) as caught:
        parsed("--data-dir=~nobody-of-that-name/x")
    assert str(caught.value.code).startswith("happy: data-dir: '~nobody-of-that-name/x' from the option")


def test_a_process_id_left_over(tmp_path: Path) -> None:
    """The file that twistd would stop at goes, if nothing runs that it could mean."""
    file = tmp_path / "twistd.pid"
    file.write_text("")
    options = Options({})
    options.parent = ServerOptions()
    options.parent["pidfile"] = str(file)
    options.parseOptions([])
    assert not file.exists()
