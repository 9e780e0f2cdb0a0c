"""Values as deployments have them: with white space, without effect, meant for something else."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from happy.settings.config import SETTINGS, Config
from happy.settings.declaration import BadSetting, Setting
from happy.settings.effects import half_set, has_whole_s3
from happy.settings.loading import load
from tests.settings.test_config import write

NEEDING = [one for one in SETTINGS if one.needs]


@pytest.mark.parametrize(
    ("variable", "field"),
    [
        ("DATABASE_URL", "database_url"),
        ("PUBLIC_URL", "public_url"),
        ("HOST", "host"),
        ("DATA_DIR", "data_dir"),
        ("DB_PROVIDER", "db_provider"),
        ("ELEVENLABS_API_KEY", "elevenlabs_api_key"),
        ("HAPPY_LOG_LEVEL", "log_level"),
        ("TZ", "time_zone"),
    ],
)
@pytest.mark.parametrize("around", ["{}\n", " {}", "\t{} \r\n"])
def test_white_space(variable: str, field: str, around: str) -> None:
    """What a secret file or an editor adds around a value is no part of it."""
    value = {
        "DATABASE_URL": "postgresql://h/d",
        "PUBLIC_URL": "https://a.example",
        "HOST": "127.0.0.1",
        "DB_PROVIDER": "pglite",
        "HAPPY_LOG_LEVEL": "debug",
        "TZ": "Europe/Berlin",
    }.get(variable, "/a")
    assert getattr(load({}, {variable: around.format(value)}), field) == getattr(
        load({}, {variable: value}), field
    )


def test_white_space_elsewhere(tmp_path: Path) -> None:
    """Options and the file are read in the same way, and a variable of white space alone is unset."""
    file = tmp_path / "happy.toml"
    file.write_text('public-url = " https://a.example "\n')
    config = load({"config": [f"{file} "], "host": [" ::1 "]}, {"S3_HOST": " \n", "PORT": "\t"})
    assert (config.public_url, config.host, config.s3_host, config.port) == (
        "https://a.example",
        "::1",
        None,
        3005,
    )


@pytest.mark.parametrize("one", NEEDING, ids=lambda one: one.name)
def test_judged_where_it_is_used(one: Setting) -> None:
    """Without what it needs, a setting may have any value, which is told."""
    off = {one.needs: ["false"]} if one.needs == "metrics-enabled" else {}
    config = load({**off, one.name: ["\0"]}, {})
    assert config.without_effect == (one.name,)
    assert getattr(config, one.field) == one.default


def test_a_needed_value_is_judged() -> None:
    """What is used must be right."""
    with pytest.raises(BadSetting, match="metrics-port"):
        load({}, {"METRICS_PORT": "many"})


@pytest.mark.parametrize(
    "host",
    [
        "x86_64-conda-linux-gnu",
        "x86_64-conda_cos6-linux-gnu",
        "arm64-apple-darwin20.0.0",
        "x86_64-apple-darwin13.4.0",
        "aarch64-linux-gnu",
        socket.gethostname(),
        socket.gethostname().partition(".")[0].upper(),
    ],
)
def test_host_of_a_shell(host: str) -> None:
    """The machine's own name or type in HOST is a shell's, so the server listens everywhere, and tells."""
    config = load({}, {"HOST": host})
    assert (config.host, config.without_effect) == ("0.0.0.0", ("host",))
    assert load({"host": [host]}, {}).host == host


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "db.internal", "::"])
def test_host_that_is_meant(host: str) -> None:
    """An address, or the name of one, is where to listen."""
    assert load({}, {"HOST": host}).host == host


@pytest.mark.parametrize("variable", ["PORT", "METRICS_PORT", "S3_PORT"])
def test_ports_of_a_cluster(variable: str) -> None:
    """What a cluster sets for a service of that name is not meant for this server."""
    used = {"S3_HOST": "s3", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b", "S3_BUCKET": "c"}
    config = load({}, {**used, "S3_PUBLIC_URL": "http://d", variable: "tcp://192.0.2.7:9000"})
    assert (config.port, config.metrics_port, config.s3_port) == (3005, 9090, None)
    assert config.without_effect == (variable.lower().replace("_", "-"),)


@pytest.mark.parametrize("url", ["", " ", None])
def test_postgres_without_an_address(url: str | None) -> None:
    """Who asks for PostgreSQL and names none is not given an empty database."""
    environment = {"DB_PROVIDER": "postgres"} | ({} if url is None else {"DATABASE_URL": url})
    with pytest.raises(BadSetting, match="DATABASE_URL"):
        load({}, environment)


@pytest.mark.parametrize("word", ["PGlite", "postgresql", "Postgres"])
def test_providers(word: str) -> None:
    """The kind of database is written in any case."""
    environment = {"DATABASE_URL": "postgresql://h/d"} if word != "PGlite" else {}
    assert load({}, {"DB_PROVIDER": word, **environment}).db_provider in ("pglite", "postgres")


def test_half_set() -> None:
    """A service that cannot work yet is told, with what it lacks."""
    assert half_set(Config()) == ()
    bucket: dict[str, Any] = {"s3_host": "s3", "s3_access_key": "a", "s3_secret_key": "b", "s3_bucket": "c"}
    assert not has_whole_s3(Config(s3_host="s3", s3_bucket="c"))
    assert half_set(Config(s3_host="s3", s3_bucket="c")) == (
        "Files are neither taken nor given until s3-access-key and s3-secret-key are set",
    )
    (line,) = half_set(Config(**bucket))
    assert "s3-public-url" in line
    assert half_set(Config(**bucket, s3_public_url="https://a.example")) == ()
    assert half_set(Config(github_client_id="x", github_client_secret="y")) == (
        "Accounts cannot be connected to GitHub until github-redirect-url is set",
    )
    assert (
        half_set(
            Config(github_client_id="x", github_client_secret="y", github_redirect_url="https://a.example")
        )
        == ()
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prot = 1\n", "sets 'prot', which is no setting; did you mean port?"),
        ("registraton = 'closed'\n", "sets 'registraton', which is no setting; did you mean registration?"),
        ("data_dir = '/x'\n", "sets 'data_dir', which is no setting; did you mean data-dir?"),
        ("HAPPY_STATIC_DIR = '/x'\n", "sets 'HAPPY_STATIC_DIR', which is no setting; did you mean webapp?"),
        ('"\\u001b[2J" = 1\n', "sets '\\x1b[2J', which is no setting"),
        ("config = 'x'\n", "sets 'config', which is no setting"),
        ("[files]\ns3-host = 'x'\n", "has a table 'files', but settings stand in none"),
    ],
)
def test_unknown_keys(text: str, told: str, tmp_path: Path) -> None:
    """A key that nobody knows is told with the one that was probably meant, and stops nothing."""
    file = write(tmp_path, f"log-level = 'warn'\n{text}")
    config = load({"config": file}, {})
    (line,) = config.unknown
    assert line.startswith(f"{file[0]} {told}")
    assert replace(config, unknown=()) == load({"config": write(tmp_path, "log-level = 'warn'\n")}, {})


def test_a_value_of_no_effect(tmp_path: Path) -> None:
    """What a file has for a setting that nothing uses is not judged either."""
    config = load({"config": write(tmp_path, "s3-port = { a = 1 }\n")}, {})
    assert config.without_effect == ("s3-port",)
