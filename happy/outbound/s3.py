"""Objects in an S3-compatible store.

The ``minio`` client (the extra ``s3``) signs, and speaks to the store from threads. Signing is
arithmetic: addresses and forms are made without asking the store.
"""

from __future__ import annotations

import logging
import mimetypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import quote

import urllib3
from minio import Minio
from minio.datatypes import PostPolicy
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from twisted.logger import Logger

from happy.base.errors import StartupError
from happy.base.threads import Threads
from happy.outbound.objects import Existing, Removals, UploadForm, attachments
from happy.settings.effects import half_set, has_whole_s3

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from happy.settings.config import Config

_LIFETIME = timedelta(minutes=15)
"""How long a signed address or form works."""
_PATIENCE = urllib3.Timeout(connect=5, read=15)
_PATIENCE_IN_ALL = 40.0
"""Seconds that a request waits for the store, however many steps that takes."""
_FIELDS = ("x-amz-date", "x-amz-algorithm", "x-amz-credential", "policy", "x-amz-signature")

_log = Logger()

# It tells of each try; what becomes of all of them is told here.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


class S3:
    """An object store in the bucket that the configuration names; ``clock`` waits between tries."""

    local = False

    def __init__(self, config: Config, threads: Threads, clock: Any) -> None:
        assert config.s3_host and config.s3_bucket
        self._endpoint = _endpoint(config)
        self._bucket = config.s3_bucket
        self.name = f"s3:{config.s3_bucket}"
        scheme = "https" if config.s3_use_ssl else "http"
        self._public_base = f"{config.s3_public_url or f'{scheme}://{self._endpoint}/{self._bucket}'}/"
        self._threads = threads
        self._removals = Removals(clock)
        self._client = _client(config)

    async def start(self) -> None:
        """Probe the bucket: a missing one is only logged. Raises StartupError if nothing answers."""
        self._threads.start()
        try:
            found = await self._threads.run(self._client.bucket_exists, self._bucket)
        except S3Error as error:
            _log.warn("the S3 bucket cannot be looked at: {code}", code=error.code)
        except ValueError as error:
            raise StartupError(f"s3-bucket: {error}") from None
        except (urllib3.exceptions.HTTPError, OSError):
            raise StartupError(f"s3-host: nothing answers at {self._endpoint}") from None
        else:
            if not found:
                _log.warn("the S3 bucket does not exist")

    async def stop(self) -> None:
        """Wait for calls under way, within their timeouts."""
        self._removals.stop()
        await self._threads.stop()

    def public_url(self, path: str) -> str:
        """The object's address below the public base of the bucket."""
        return self._public_base + quote(path)

    async def put(self, path: str, content: BinaryIO, *, owner: str) -> None:
        """Upload an object; its type follows from its name."""
        await self._threads.within_for(owner, _PATIENCE_IN_ALL, self._put, path, content)

    def _put(self, path: str, content: BinaryIO) -> None:
        start = content.tell()
        length = content.seek(0, os.SEEK_END) - start
        content.seek(start)
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        self._client.put_object(self._bucket, path, content, length, content_type=kind)

    async def file(self, path: str, *, owner: str) -> Path | None:
        """None: nothing is a file of this machine."""
        return None

    def upload_form(self, path: str, limit: int) -> UploadForm:
        """A form that the store accepts for exactly this path (http.md T1)."""
        policy = PostPolicy(self._bucket, datetime.now(UTC) + _LIFETIME)
        policy.add_equals_condition("key", path)
        policy.add_content_length_range_condition(0, limit)
        signed = self._client.presigned_post_policy(policy)
        fields = {"bucket": self._bucket, "key": path} | {name: signed[name] for name in _FIELDS}
        return UploadForm(self._bucket_url(), fields)

    def download_url(self, path: str) -> str:
        """A signed address of the object."""
        return self._client.presigned_get_object(self._bucket, path, expires=_LIFETIME)

    def _bucket_url(self) -> str:
        """The address that forms are sent to: that of any object, without the object."""
        return self.download_url("-").partition("?")[0].removesuffix("/-")

    async def used(self, session: str, *, owner: str) -> int:
        """The bytes of a session's attachments."""
        return await self._threads.within_for(owner, _PATIENCE_IN_ALL, self._size, attachments(session))

    def _size(self, prefix: str) -> int:
        found = self._client.list_objects(self._bucket, prefix=prefix, recursive=True)
        return sum(entry.size or 0 for entry in found)

    async def total(self) -> int | None:
        """None: a bucket is not counted, and may be others' as well."""
        return None

    def remove_session(self, session: str, *, owner: str) -> Deferred[None]:
        """Delete everything below a session's prefix; tries again when that fails."""
        return self._removals.begin(lambda: self._threads.run_for(owner, self._remove, attachments(session)))

    def _remove(self, prefix: str) -> None:
        found = self._client.list_objects(self._bucket, prefix=prefix, recursive=True)
        names = [DeleteObject(entry.object_name) for entry in found if entry.object_name]
        failed = list(self._client.remove_objects(self._bucket, names))
        if failed:
            raise OSError(f"{len(failed)} objects could not be deleted: {failed[0].code}")

    async def sweep(self, existing: Existing) -> int:
        """Nothing: a bucket may be shared, and has lifecycle rules of its own."""
        return 0


def sizes(config: Config, *prefixes: str) -> dict[str, int]:
    """The bytes of each object of ours in the bucket, by its path, or of those below the prefixes.

    Blocks, as the functions after it do. Each raises StartupError when the bucket cannot be used.
    """
    found: dict[str, int] = {}
    with _usable(config) as client:
        for prefix in prefixes or ("sessions/", "public/"):
            for entry in client.list_objects(config.s3_bucket or "", prefix=prefix, recursive=True):
                found[entry.object_name or ""] = entry.size or 0
    return found


def opened(config: Config, path: str) -> IO[bytes]:
    """An object to be read; the caller closes it. Raises FileNotFoundError if there is none."""
    with _usable(config) as client:
        try:
            return cast(IO[bytes], client.get_object(config.s3_bucket or "", path))
        except S3Error as error:
            if error.code == "NoSuchKey":
                raise FileNotFoundError(path) from None
            raise


def put(config: Config, path: str, content: IO[bytes], length: int) -> None:
    """Store an object of so many bytes."""
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    with _usable(config) as client:
        client.put_object(config.s3_bucket or "", path, cast(BinaryIO, content), length, content_type=kind)


def remove(config: Config, prefix: str) -> None:
    """Delete everything below a prefix. Raises StartupError."""
    names = [DeleteObject(path) for path in sizes(config, prefix)]
    with _usable(config) as client:
        for failed in client.remove_objects(config.s3_bucket or "", names):
            raise StartupError(f"the S3 bucket cannot be used: {failed.code}")


@contextmanager
def _usable(config: Config) -> Iterator[Minio]:
    try:
        yield _client(config)
    except S3Error as error:
        raise StartupError(f"the S3 bucket cannot be used: {error.code}") from None
    except FileNotFoundError:
        raise
    except (urllib3.exceptions.HTTPError, OSError, ValueError):
        raise StartupError(f"s3-host: nothing answers at {_endpoint(config)}") from None


def _endpoint(config: Config) -> str:
    assert config.s3_host
    host = f"[{config.s3_host}]" if ":" in config.s3_host else config.s3_host
    return host if config.s3_port is None else f"{host}:{config.s3_port}"


def _client(config: Config) -> Minio:
    if not has_whole_s3(config):
        raise StartupError(f"s3-host: {half_set(config)[-1]}")
    return Minio(
        _endpoint(config),
        access_key=config.s3_access_key,
        secret_key=config.s3_secret_key,
        secure=config.s3_use_ssl,
        region=config.s3_region,
        http_client=urllib3.PoolManager(timeout=_PATIENCE, retries=urllib3.Retry(1), maxsize=4),
    )
