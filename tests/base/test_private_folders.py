"""Folders that only their owner may enter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from happy.base.private_folders import COMMON, PRIVATE, close_folder, make_folder


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Another umask for a while."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("mask", [0, 0o022, 0o777])
def test_make_folder(tmp_path: Path, mask: int) -> None:
    """Every folder on the way has the mode, whatever the umask; those that were there keep theirs."""
    tmp_path.chmod(0o750)
    with umask(mask):
        make_folder(tmp_path / "a" / "b")
        make_folder(tmp_path / "common", COMMON)
        make_folder(tmp_path / "common" / "c")
        make_folder(tmp_path / "common")
    assert mode(tmp_path) == 0o750
    assert [mode(tmp_path / name) for name in ("a", "a/b", "common/c")] == [PRIVATE] * 3
    assert mode(tmp_path / "common") == COMMON


def test_in_the_way(tmp_path: Path) -> None:
    """What is no folder is not taken for one."""
    (tmp_path / "file").touch()
    for name in ("file", "file/folder"):
        with pytest.raises(OSError):
            make_folder(tmp_path / name)


def test_close_folder(tmp_path: Path) -> None:
    """A folder of ours is closed; what an operator's link leads to is not."""
    for name in ("ours", "operators"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o775)
    (tmp_path / "link").symlink_to("operators")
    close_folder(tmp_path / "ours")
    close_folder(tmp_path / "link")
    assert [mode(tmp_path / name) for name in ("ours", "operators")] == [0o700, 0o775]


def test_folder_of_others(tmp_path: Path) -> None:
    """A folder of somebody else's is never touched, even by root."""
    if os.geteuid() == 0:
        folder = tmp_path / "theirs"
        folder.mkdir()
        folder.chmod(0o775)
        os.chown(folder, 12345, 12345)
    else:
        folder = Path("/")
    before = mode(folder)
    close_folder(folder)
    assert mode(folder) == before
