"""Which store of files the configuration asks for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from happy.base.errors import StartupError
from happy.base.threads import Threads
from happy.outbound.folder import Folder
from happy.outbound.nowhere import Nowhere
from happy.settings.effects import has_whole_s3

if TYPE_CHECKING:
    from happy.base.clocks import Now
    from happy.outbound.objects import ObjectStore
    from happy.settings.config import Config


def object_store(config: Config, reactor: Any, now: Now = time.time) -> ObjectStore:
    """The store that the configuration asks for. Raises :class:`~happy.base.errors.StartupError`."""
    threads = Threads(reactor)
    if config.s3_host and not has_whole_s3(config):
        return Nowhere(config)
    if config.s3_host:
        return _s3(config, threads, reactor)
    base = config.public_url or f"http://localhost:{config.port}"
    return Folder(config.data_dir / "files", f"{base}/files/", threads, reactor, now)


def _s3(config: Config, threads: Threads, clock: Any) -> ObjectStore:
    try:
        from happy.outbound.s3 import S3
    except ImportError:
        raise StartupError("s3-host: S3 needs a library that is not installed: pip install minio") from None
    try:
        return S3(config, threads, clock)
    except ValueError as error:
        raise StartupError(f"s3-host: {error}") from None
