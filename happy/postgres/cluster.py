"""A data directory: how it is made, how its server is called, what its files say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from happy.base.errors import StartupError
from happy.postgres.binaries import Installation

USER = "happy"
"""The database role, a superuser of this one cluster."""

DATABASE = "postgres"
PORT = 5432
"""Only a part of the socket's name: no network address is listened on."""

MARK = "cluster_name=happy"
"""In the command line of every server we start, by which one is known that outlived its parent."""

_BUILTIN_LOCALES_SINCE = 17
_IO_METHODS_SINCE = 18
_SPARE_CONNECTIONS = 20

# A server for one application on a shared machine, durable before anything else. What is logged
# must not quote values: statements are never logged, whatever a postgresql.conf says, and log lines are
# filtered again on arrival.
SETTINGS: Mapping[str, str] = {
    "cluster_name": "happy",
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_worker_processes": "4",
    "max_logical_replication_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "jit": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] %e ",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_duration": "off",
    "log_lock_waits": "off",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_checkpoints": "off",
}

SESSION = "-c log_min_messages=fatal"
"""Options of our own sessions: the text of an error quotes what it is about, and nobody has to write it
down, since the session hears of it."""


def initdb_arguments(installation: Installation, folder: Path) -> list[str]:
    """The command that makes a cluster in ``folder``.

    Its text order is that of code points, which no later version of a C library changes.
    """
    arguments = [
        installation.program("initdb"),
        f"--pgdata={folder}",
        f"--username={USER}",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--data-checksums",
        "--no-instructions",
    ]
    if installation.major >= _BUILTIN_LOCALES_SINCE:
        arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return arguments


def server_arguments(
    installation: Installation,
    folder: Path,
    sockets: Path,
    *,
    connections: int = 8,
    settings: Mapping[str, str] | None = None,
) -> list[str]:
    """The command that runs the cluster's server in the foreground.

    ``connections`` is how many the server's own pool wants; some are added for everybody else.
    """
    quoted = str(sockets).replace('"', '""')
    chosen = {
        **SETTINGS,
        "unix_socket_directories": f'"{quoted}"',
        "max_connections": str(connections + _SPARE_CONNECTIONS),
    }
    if installation.major >= _IO_METHODS_SINCE:
        chosen["io_method"] = "sync"  # three processes less, and nothing here reads far ahead
    chosen |= settings or {}
    options = [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]
    return [installation.program("postgres"), "-D", str(folder), *options]


def data_major(folder: Path) -> int | None:
    """The major version that made the cluster; None when there is no cluster.

    Raises StartupError when the cluster does not say.
    """
    try:
        return int((folder / "PG_VERSION").read_text().split(".")[0])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise StartupError(
            f"{folder / 'PG_VERSION'} holds no version; restore {folder} from a backup"
        ) from None


def socket_path(sockets: Path) -> Path:
    """The server's socket in its folder of sockets."""
    return sockets / f".s.PGSQL.{PORT}"
