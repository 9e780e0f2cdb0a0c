"""A real S3 server on this machine, for tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from minio import Minio

SECRET = "secret key of the tests"
BUCKET = "happy"


class S3Server:
    """moto's server in a process of its own, with one empty bucket.

    ``settings`` are those of a Happy server that keeps its files there; ``client`` looks at the bucket.
    """

    def __init__(self) -> None:
        program = Path(__file__).with_name("moto_server.py")
        self._process = subprocess.Popen(
            [sys.executable, program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.settings: dict[str, Any] = {
            "s3_host": "127.0.0.1",
            "s3_port": self.port,
            "s3_use_ssl": False,
            "s3_access_key": "key",
            "s3_secret_key": SECRET,
            "s3_bucket": BUCKET,
            "s3_public_url": "https://files.test",
        }
        self.client = Minio(f"127.0.0.1:{self.port}", "key", SECRET, secure=False, region="us-east-1")
        self.client.make_bucket(BUCKET)

    def names(self) -> list[str]:
        """What is in the bucket."""
        return [str(found.object_name) for found in self.client.list_objects(BUCKET, recursive=True)]

    def stop(self) -> None:
        """End it."""
        self._process.communicate()
