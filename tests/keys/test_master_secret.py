"""The generated master secret, and what is refused instead of being guessed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from happy.keys.master_secret import FILE_NAME, settle
from happy.service.takeover import check
from happy.settings.config import Config
from happy.settings.declaration import BadSetting


def refusal(config: Config) -> str:
    """The one line that this configuration is refused with."""
    with pytest.raises(BadSetting) as caught:
        settle(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def keep(folder: Path, content: bytes, mode: int = 0o600) -> Config:
    """A data folder with a secret file in it."""
    file = folder / FILE_NAME
    file.write_bytes(content)
    file.chmod(mode)
    return Config(data_dir=folder)


def test_generated_once(tmp_path: Path) -> None:
    """The first start makes 256 random bits in a private file; later ones read them."""
    config = Config(data_dir=tmp_path / "new" / "data")
    first, second = settle(config), settle(config)
    assert first.master_secret == second.master_secret
    assert len(bytes.fromhex(first.master_secret)) == 32
    (file,) = config.data_dir.iterdir()
    assert file.name == FILE_NAME
    assert file.stat().st_mode & 0o777 == 0o600


def test_private_whatever_the_umask(tmp_path: Path) -> None:
    """A generous umask does not open the file to others."""
    before = os.umask(0)
    try:
        settle(Config(data_dir=tmp_path))
    finally:
        os.umask(before)
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_two_data_folders_have_two_secrets(tmp_path: Path) -> None:
    """Each server has a secret of its own."""
    secrets = {settle(Config(data_dir=tmp_path / name)).master_secret for name in "ab"}
    assert len(secrets) == 2


def test_configured_secret_is_not_written(tmp_path: Path) -> None:
    """A secret from the environment is used as it is and leaves no file."""
    config = Config(data_dir=tmp_path, master_secret="from outside")
    assert settle(config) is config
    assert not list(tmp_path.iterdir())


def test_editors_line_end_does_not_count(tmp_path: Path) -> None:
    """The line end that an editor adds is no part of the secret; other white space is."""
    assert settle(keep(tmp_path, b" s3cret \r\n")).master_secret == " s3cret "


def test_file_that_others_may_read(tmp_path: Path) -> None:
    """A secret that others may have read is refused with the command that closes the file."""
    told = refusal(keep(tmp_path, b"s3cret\n", 0o640))
    assert told == (
        f"master-secret: other users may open {tmp_path / FILE_NAME}; "
        f"close it with: chmod 600 {tmp_path / FILE_NAME}"
    )


@pytest.mark.parametrize("content", [b"", b"\n", b"\0\n"])
def test_file_without_a_secret(content: bytes, tmp_path: Path) -> None:
    """An empty or broken file is not replaced by a new secret."""
    assert "holds no secret; restore it from your backup" in refusal(keep(tmp_path, content))
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_file_that_is_no_text(tmp_path: Path) -> None:
    """Bytes that are no text are refused."""
    assert "is not UTF-8 text" in refusal(keep(tmp_path, b"\xff\xfe\xff"))


def test_well_known_secret_in_the_file(tmp_path: Path) -> None:
    """The file is held to the same standard as the environment."""
    config = keep(tmp_path, b"changeme\n")
    assert "must not be one that can be guessed" in refusal(config)
    allowed = Config(data_dir=tmp_path, allow_weak_secret=True)
    assert settle(allowed).master_secret == "changeme"


def test_database_without_its_secret(tmp_path: Path) -> None:
    """Beside an existing database, a missing secret is asked for instead of being replaced."""
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("18\n")
    told = refusal(Config(data_dir=tmp_path))
    assert "is missing, but there is a database in" in told
    assert not (tmp_path / FILE_NAME).exists()


def test_faster_process_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another process makes the file at the same moment, its secret is used and nothing is left over."""
    link = os.link

    def too_late(source: Path, target: Path) -> None:
        keep(tmp_path, b"the other one's\n")
        link(source, target)

    monkeypatch.setattr(os, "link", too_late)
    assert settle(Config(data_dir=tmp_path)).master_secret == "the other one's"
    assert [file.name for file in tmp_path.iterdir()] == [FILE_NAME]


def test_data_folder_that_is_a_file(tmp_path: Path) -> None:
    """A data folder that cannot be made is named, with the other way to give a secret."""
    (tmp_path / "data").write_text("")
    told = refusal(Config(data_dir=tmp_path / "data"))
    assert str(tmp_path / "data") in told
    assert told.endswith("mend that, or set the environment variable HANDY_MASTER_SECRET")


@pytest.mark.parametrize("named", [True, False])
def test_pglite_database_is_not_hidden(named: bool, tmp_path: Path) -> None:
    """Data of the original's embedded mode stops the start until another database is named."""
    folder = tmp_path / "elsewhere" if named else tmp_path / "pglite"
    folder.mkdir()
    (folder / "PG_VERSION").write_text("17\n")
    pglite_dir = folder if named else None
    with pytest.raises(BadSetting, match=f"pglite-dir: {folder} holds a PGlite database"):
        check(Config(data_dir=tmp_path, pglite_dir=pglite_dir))
    check(Config(data_dir=tmp_path, pglite_dir=pglite_dir, database_url="postgresql://h/d"))


def test_old_settings_without_data_are_fine(tmp_path: Path) -> None:
    """Settings of the original alone do not stop anything."""
    check(
        Config(
            data_dir=tmp_path,
            db_provider="pglite",
            pglite_dir=tmp_path / "none",
            without_effect=("redis-url",),
        )
    )
