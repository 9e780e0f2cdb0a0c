"""What the Debian package and the image are made of, as far as nothing has to be built."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGING = ROOT / "packaging"
SCRIPTS = ("happyctl", "happy-server", "debian/postinst", "debian/prerm", "debian/postrm", "lock.sh")
NOBODY = 65534


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    """The program that builds the package."""
    found = importlib.util.spec_from_file_location("deb", PACKAGING / "deb.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def locked() -> dict[str, str]:
    """The versions in the lock file."""
    text = (PACKAGING / "requirements.lock").read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


def test_lock_file_has_what_the_project_wants() -> None:
    """Every dependency, the optional storage of files included, is locked at a version that will do."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = locked()
    for line in (*project["dependencies"], *project["optional-dependencies"]["s3"]):
        wanted = Requirement(line)
        assert versions[canonicalize_name(wanted.name)] in wanted.specifier, line


def test_lock_file_trusts_nobody() -> None:
    """Each locked version has hashes, and no address of an index stands there."""
    text = (PACKAGING / "requirements.lock").read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) == len(locked())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_programs(name: str) -> None:
    """Each script may be run, and a shell understands it."""
    script = PACKAGING / name
    assert script.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", script], check=True)


def test_builder_finds_its_files(builder: ModuleType) -> None:
    """Everything that goes into the package as it is lies beside the builder."""
    assert [name for name in builder.FILES if not (PACKAGING / name).is_file()] == []


@pytest.mark.parametrize(
    ("version", "debian"),
    [
        ("0.2.0.dev0", "0.2.0~dev0-1+py311"),
        ("0.2.0rc1", "0.2.0~rc1-1+py311"),
        ("0.2.0", "0.2.0-1+py311"),
        ("0.2.0.post1", "0.2.0.post1-1+py311"),
    ],
)
def test_versions_are_ordered_as_debian_does(builder: ModuleType, version: str, debian: str) -> None:
    """What comes before a release sorts before it."""
    assert builder.in_debian_order(version, "3.11") == debian


def test_unit_is_hardened() -> None:
    """The unit exposes less than 3 of 10, as systemd counts."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not here")
    unit = PACKAGING / "happy-server.service"
    checked = subprocess.run(
        [program, "security", "--offline=true", "--threshold=30", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout[-200:] + checked.stderr


def test_server_starts_where_its_user_may_not_be(tmp_path: Path) -> None:
    """Who becomes the server's user in a folder that it may not enter starts the server in another one."""
    script = (PACKAGING / "happy-server").read_text()
    program = "exec /opt/happy-server/bin/twistd"
    assert program in script
    root = os.geteuid() == 0
    if root:
        os.chown(tmp_path, NOBODY, NOBODY)
    started = subprocess.run(
        ["/bin/sh", "-c", "chmod 600 .\n" + script.replace(program, "pwd; exec true")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        user=NOBODY if root else None,
    )
    assert started.stdout == "/\n"
