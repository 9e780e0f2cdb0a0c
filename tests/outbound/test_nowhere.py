"""What there is of a store while S3 lacks settings."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from happy.base.errors import Overloaded, StartupError
from happy.outbound.s3 import sizes
from happy.service.object_store import object_store
from happy.settings.config import Config

OWNER = "account"


class NowhereTests(SynchronousTestCase):
    """Neither here nor there."""

    def test_nothing_is_taken_or_given(self) -> None:
        """Neither is a file stored elsewhere, nor is one called missing; whoever asks is to come back."""
        with tempfile.TemporaryDirectory() as folder:
            config = Config(s3_host="s3.example.org", s3_bucket="happy", data_dir=Path(folder))
            store = object_store(config, Clock())
            self.successResultOf(Deferred.fromCoroutine(store.start()))
            for asking in (
                store.put("a", io.BytesIO(b"1"), owner=OWNER),
                store.file("a", owner=OWNER),
                store.used("s", owner=OWNER),
            ):
                self.failureResultOf(Deferred.fromCoroutine(asking), Overloaded)  # type: ignore[arg-type]
            self.assertRaises(Overloaded, store.upload_form, "a", 1)
            self.assertRaises(Overloaded, store.download_url, "a")
            self.assertEqual(store.public_url("public/a b"), "https://s3.example.org/public/a%20b")
            self.successResultOf(store.remove_session("s", owner=OWNER))
            self.successResultOf(Deferred.fromCoroutine(store.stop()))
            self.assertEqual(os.listdir(folder), [])
        self.assertRaisesRegex(StartupError, "s3-access-key and s3-secret-key are set", sizes, config)
