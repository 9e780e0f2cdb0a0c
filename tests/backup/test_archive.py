"""The file of a backup: what was written comes back, and nothing else is taken for a backup."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.backup.archive import DATABASE, FILES, Archive, ArchiveWriter, BadBackup, Manifest, Mark

NAMES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1), min_size=1).map(
    lambda parts: FILES + "/".join(f"{part}_" for part in parts)
)


def manifest(writer: ArchiveWriter) -> Manifest:
    """What a writer's members are listed in."""
    return Manifest(
        server="1",
        created_at=1,
        postgres="18.1",
        programs=18,
        schema="public",
        migration=1,
        fingerprint=None,
        tables={"Account": 0},
        members=writer.members,
    )


def written(path: Path, members: dict[str, bytes], *, format: int = 1) -> bytes:
    """A backup with these members; its bytes."""
    with path.open("w+b") as file:
        writer = ArchiveWriter(file, Mark(format, "1", 1))
        for name, content in members.items():
            writer.add(name, BytesIO(content))
        writer.finish(manifest(writer))
    return path.read_bytes()


def reason(path: Path, content: bytes) -> str:
    """Why this is no backup, in one line."""
    path.write_bytes(content)
    with pytest.raises(BadBackup) as caught:
        Archive(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a backup is."""
    return tmp_path_factory.mktemp("archives") / "backup.tar"


@given(files=st.dictionaries(NAMES, st.binary(max_size=3000), max_size=3), dump=st.binary(max_size=3000))
def test_everything_comes_back(path: Path, files: dict[str, bytes], dump: bytes) -> None:
    """Every member has the bytes that were written, whatever it is called."""
    members = {DATABASE: dump, **files}
    written(path, members)
    archive = Archive(path)
    assert archive.manifest.files == [name.removeprefix(FILES) for name in files]
    for name, content in members.items():
        with archive.open(name) as opened:
            assert opened.read() == content
    with tarfile.open(path) as others:
        assert others.getnames()[1:-1] == list(members)


@given(cut=st.floats(0, 1, exclude_max=True))
def test_cut_off(path: Path, cut: float) -> None:
    """Without its end a backup is none, wherever it was cut."""
    whole = written(path, {DATABASE: b"d" * 1000, f"{FILES}a": b"a" * 1000})
    reason(path, whole[: int(cut * len(whole.rstrip(b"\0")))])


@given(where=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_damaged(path: Path, where: int, bit: int) -> None:
    """A changed bit of what is stored is noticed."""
    whole = bytearray(written(path, {DATABASE: b"d" * 1000, f"{FILES}a": b"a" * 1000}))
    place = bytes(whole).index(b"d" * 1000) + where % 1000
    whole[place] ^= 1 << bit
    assert "database.dump is not what was written" in reason(path, bytes(whole))


@given(st.binary(max_size=2000))
def test_foreign(path: Path, content: bytes) -> None:
    """Any other file is no backup."""
    reason(path, content)


@pytest.mark.parametrize("name", ["../evil", "/evil", "files/../evil", "files//evil", "other", "files/"])
def test_strange_names(path: Path, name: str) -> None:
    """Nothing in it can lead anywhere else."""
    assert "no backup of this server" in reason(path, written(path, {DATABASE: b"", name: b"x"}))


def test_links(path: Path) -> None:
    """A member is a file, and nothing that leads to one."""
    link = tarfile.TarInfo(DATABASE)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(path, "w") as archive:
        archive.addfile(link)
    assert "other things" in reason(path, path.read_bytes())


def test_later_format(path: Path) -> None:
    """A backup that a later version made in another way is left to that version."""
    assert "use that one" in reason(path, written(path, {DATABASE: b""}, format=2))


def test_another_archive(path: Path) -> None:
    """An archive that is well made and something else is refused by its first member."""
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo(DATABASE))
    assert "no backup of this server" in reason(path, path.read_bytes())
