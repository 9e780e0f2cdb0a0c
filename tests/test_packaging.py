"""What is shipped: the wheel, its twistd plugin, and a README that tells the truth."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins

from happy import __version__, tap
from tests.readme import README, WRITTEN, command_lines, present_tables

ROOT = Path(__file__).parents[1]


KEPT = ("happy/**/*.py", "happy/**/*.sql", "happy/py.typed", "happy/service/page/*.*", "twisted/plugins/*.py")
"""What a wheel is made of."""


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment on the code of this checkout."""
    program = str(Path(sys.executable).parent / command[0])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [program, *command[1:]], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in ("happy", "twisted"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("dropin.cache"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    return source


def build(source: Path, folder: Path) -> zipfile.ZipFile:
    """The wheel of some sources, left in ``folder``."""
    built = run(
        "pip", "wheel", "--no-build-isolation", "--no-deps", "-w", str(folder), str(source), cwd=folder
    )
    assert built.returncode == 0, built.stderr
    (file,) = folder.glob("*.whl")
    return zipfile.ZipFile(file)


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this checkout."""
    return build(source, tmp_path_factory.mktemp("wheel"))


def test_builds_do_not_mix(source: Path, wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """A wheel that is built in the same folder later holds nothing of what is gone from the sources."""
    gone = source / "happy" / "operator" / "ctl.py"
    text = gone.read_text()
    gone.unlink()
    try:
        later = build(source, tmp_path)
    finally:
        gone.write_text(text)
    assert set(wheel.namelist()) - set(later.namelist()) == {"happy/operator/ctl.py"}
    assert set(later.namelist()) < set(wheel.namelist())


def test_wheel_has_everything(wheel: zipfile.ZipFile) -> None:
    """Every module, migration, page and marker is in the wheel, and nothing else."""
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    kept = {str(file.relative_to(ROOT)) for pattern in KEPT for file in ROOT.glob(pattern)}
    assert shipped == kept
    assert "twisted/__init__.py" not in shipped
    assert "twisted/plugins/__init__.py" not in shipped


def test_wheel_metadata(wheel: zipfile.ZipFile) -> None:
    """Name, version, Python and the extras are declared, and each dependency has a lower bound."""
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    lines = wheel.read(name).decode().partition("\n\n")[0].splitlines()
    assert {"Name: happy-server", f"Version: {__version__}", "Requires-Python: >=3.11"} <= set(lines)
    assert {"License-Expression: MIT", "License-File: LICENSE"} <= set(lines)
    assert any(line.startswith("Project-URL: Homepage, https://") for line in lines)
    assert {"Provides-Extra: test", "Provides-Extra: s3", "Provides-Extra: dev"} <= set(lines)
    requirements = [line for line in lines if line.startswith("Requires-Dist: ")]
    assert requirements
    assert all(">=" in line for line in requirements)


def test_plugin_is_found() -> None:
    """Twisted finds one command named happy, and it is the tap's."""
    (plugin,) = (plugin for plugin in getPlugins(IServiceMaker) if plugin.tapname == "happy")
    assert plugin.options is tap.Options
    assert plugin.makeService is tap.makeService


@pytest.mark.parametrize("program", ["twistd", "twist"])
def test_commands_know_happy(program: str, tmp_path: Path) -> None:
    """Both of Twisted's commands show the help of every option."""
    shown = run(program, "happy", "--help", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "--master-secret=" in shown.stdout


@pytest.mark.parametrize("program", ["twistd", "twist"])
def test_commands_tell_the_version(program: str, tmp_path: Path) -> None:
    """The version shown is the server's, not Twisted's alone."""
    shown = run(program, "happy", "--version", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(f"happy-server {__version__} ")


@pytest.mark.parametrize("program", ["twistd", "twist"])
def test_wrong_setting_is_one_line(program: str, tmp_path: Path) -> None:
    """A wrong setting ends either command with a single line and a failure."""
    shown = run(program, "happy", "--port", "http", cwd=tmp_path)
    assert shown.returncode == 1
    assert shown.stdout == ""
    assert shown.stderr.startswith("happy: port: 'http' from the option --port must be a whole number")
    assert shown.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--prot=1", "--prot is no option; did you mean --port?"),
        ("--data_dir=x", "--data_dir is no option; did you mean --data-dir?"),
        ("--xyzzy", "--xyzzy is no option; twistd happy --help lists them"),
        (
            "--nodaemon",
            "--nodaemon is no option of happy; those of twistd go before it: twistd --nodaemon happy",
        ),
        ("-n", "-n is no option of happy; those of twistd go before it: twistd -n happy"),
        ("--port", "option --port requires argument; twistd happy --help shows how it is written"),
        ("start", "nothing is expected after the options, but there is 'start'"),
    ],
)
def test_wrong_command_line_is_one_line(arguments: str, told: str) -> None:
    """A slip ends the program with one line that leads on, and exit code 1, instead of the whole help."""
    with pytest.raises(SystemExit) as caught:
        tap.Options({}).parseOptions(arguments.split())
    assert caught.value.code == f"happy: {told}"


@pytest.mark.parametrize("program", ["twistd", "twist"])
def test_unknown_option_fails(program: str, tmp_path: Path) -> None:
    """Neither command prints its help for an option that there is not, nor calls it a success."""
    shown = run(program, "happy", "--prot", "80", cwd=tmp_path)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr == "happy: --prot is no option; did you mean --port?\n"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_documents_list_the_settings(page: Path) -> None:
    """Their tables are what the settings say; python -m tests.readme writes them."""
    assert present_tables(page.read_text()) == WRITTEN[page]()


def test_readme_has_what_most_people_need() -> None:
    """Its table stays short."""
    assert present_tables(README.read_text()).count("\n") == 2 + 8


def test_readme_sets_up_in_two_lines() -> None:
    """One command line ends in a serving server, one runs the tests, and there is no third."""
    assert command_lines(README.read_text()) == [
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/twistd -n happy",
        "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/python -m pytest",
    ]
