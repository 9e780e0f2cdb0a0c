"""The examples of CONTRIBUTING.md: they are applied to a copy of the tree, and do what they say."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DIFFS = re.findall(r"^```diff\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git applies the diffs")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with all examples."""
    folder = tmp_path_factory.mktemp("contributing")
    for name in ("docs", "happy", "tests", "twisted"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    for diff in DIFFS:
        subprocess.run(["git", "apply", "-p0", "-"], cwd=folder, input=diff, text=True, check=True)
    return folder


def run(tree: Path, *arguments: str) -> str:
    """What a Python program says that runs in the copy."""
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=tree, env={"PYTHONPATH": str(tree)}, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_listed(tree: Path) -> None:
    """Endpoint, event, setting and metric pass the tests that compare what is listed with what there is."""
    chosen = ["tests/test_surface.py", "tests/test_metrics.py", "tests/settings/test_config.py"]
    chosen.append("tests/test_packaging.py::test_documents_list_the_settings")
    run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not any_text", *chosen)


def test_migration(tree: Path) -> None:
    """The migration is found, as the last one."""
    program = "from happy.storage.migrate import load_migrations as load; print(load()[-1].name)"
    assert run(tree, "-c", program) == "0099-notes\n"


def test_command(tree: Path) -> None:
    """The command is offered and works."""
    program = "import sys; from happy.operator.ctl import main; sys.exit(main(sys.argv[1:]))"
    assert "message-limit" in run(tree, "-c", program, "settings").split()
    assert "List the settings of a server" in run(tree, "-c", program, "--help")
