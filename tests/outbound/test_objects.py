"""Both object stores: the same tests over a folder and over a real S3 server on this machine."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from threading import Event
from threading import enumerate as enumerate_threads
from typing import Any

import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from happy.base.errors import StartupError
from happy.base.threads import Threads
from happy.outbound.folder import Folder
from happy.outbound.objects import ObjectStore, Removals, attachment
from happy.outbound.s3 import S3
from happy.service.object_store import object_store
from happy.settings.config import Config
from tests.outbound.s3_server import BUCKET, SECRET, S3Server

DAY = 24 * 3600
OWNER = "account"


class StoreTests:
    """What every store does; ``self.read(path)`` is what it holds, None for nothing."""

    store: ObjectStore
    assertEqual: Any

    async def read(self, path: str) -> bytes | None:
        raise NotImplementedError

    async def put(self, session: str, file: str, content: bytes) -> None:
        await self.store.put(attachment(session, file), io.BytesIO(content), owner=OWNER)

    async def test_keeps_bytes(self) -> None:
        """An object is stored byte for byte, an empty one too, and replaced by a later one."""
        large = os.urandom(3_000_000)
        await self.put("s", "large.enc", large)
        await self.put("s", "empty.enc", b"")
        self.assertEqual(await self.read(attachment("s", "large.enc")), large)
        self.assertEqual(await self.read(attachment("s", "empty.enc")), b"")
        await self.put("s", "large.enc", b"small")
        self.assertEqual(await self.read(attachment("s", "large.enc")), b"small")
        self.assertEqual(await self.read(attachment("s", "missing")), None)

    async def test_counts_bytes(self) -> None:
        """The attachments of a session are counted together, those of others are not."""
        self.assertEqual(await self.store.used("counted", owner=OWNER), 0)
        await self.put("counted", "a", b"12345")
        await self.put("counted", "b", b"678")
        await self.put("counted2", "c", b"9")
        self.assertEqual(await self.store.used("counted", owner=OWNER), 8)

    async def test_removes_sessions(self) -> None:
        """Everything of a session goes at once, nothing else does, and an absent one is no failure."""
        await self.put("removed", "a", b"1")
        await self.put("removed", "b", b"2")
        await self.put("removed2", "c", b"3")
        await self.store.remove_session("removed", owner=OWNER)
        self.assertEqual(await self.store.used("removed", owner=OWNER), 0)
        self.assertEqual(await self.store.used("removed2", owner=OWNER), 1)
        await self.store.remove_session("removed", owner=OWNER)


class FolderTests(StoreTests, TestCase):
    """The store in a folder of this machine."""

    async def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="happy-files-"))
        self.addCleanup(rmtree, self.root)
        self.clock = Clock()
        self.clock.advance(time.time())
        self.store = self.folder = Folder(
            self.root, "http://h/files/", Threads(reactor), self.clock, self.clock.seconds
        )
        await self.store.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.store.stop()))

    async def read(self, path: str) -> bytes | None:
        file = await self.store.file(path, owner=OWNER)
        return None if file is None else file.read_bytes()

    async def test_slow_for_one(self) -> None:
        """Whoever's files take long to be found keeps nobody else from theirs."""
        await self.put("s", "a", b"1")
        find, answer = self.folder._find, Event()
        self.patch(
            self.folder, "_find", lambda place: (place.name != "slow" or answer.wait()) and find(place)
        )
        waiting = [Deferred.fromCoroutine(self.store.file("x/slow", owner="slow")) for _ in range(9)]
        self.assertEqual(await self.read(attachment("s", "a")), b"1")
        await self.put("s", "b", b"2")
        self.assertEqual(await self.store.used("s", owner=OWNER), 2)
        answer.set()
        self.assertEqual(await gatherResults(waiting), [None] * 9)

    def test_addresses(self) -> None:
        """Clients reach public files through this server, and attachments too."""
        self.assertEqual(self.store.public_url("public/a b.png"), "http://h/files/public/a%20b.png")
        self.assertEqual(
            (self.store.local, self.store.upload_form("p", 1), self.store.download_url("p")),
            (True, None, None),
        )

    async def test_private(self) -> None:
        """Nobody else may read what is stored, whatever the umask is, also where they could before."""
        self.root.chmod(0o755)
        self.addCleanup(os.umask, os.umask(0))
        await self.folder.start()
        await self.put("s", "a.enc", b"1")
        found = [self.root, *self.root.rglob("*")]
        self.assertEqual({path.stat().st_mode & 0o077 for path in found}, {0})
        self.assertGreater(len(found), 4)

    async def test_stays_inside(self) -> None:
        """No path leads out of the folder, not even over a symbolic link."""
        for path in ("", ".", "..", "../x", "/etc/passwd", "a/../../x", "a//b", "a\0b", "a/./b"):
            with self.assertRaises(ValueError):
                await self.store.file(path, owner=OWNER)
            with self.assertRaises(ValueError):
                await self.store.put(path, io.BytesIO(b"x"), owner=OWNER)
        (self.root / "link").symlink_to("/etc/passwd")
        (self.root / "folder").mkdir()
        self.assertEqual(
            [await self.store.file("link", owner=OWNER), await self.store.file("folder", owner=OWNER)],
            [None, None],
        )

    async def test_whole_or_not_at_all(self) -> None:
        """A write that fails leaves the former object and no rest of the new one."""
        await self.put("s", "f", b"former")
        with self.assertRaises(OSError):
            await self.store.put(attachment("s", "f"), Breaking(b"x" * 300_000), owner=OWNER)  # type: ignore[arg-type]
        self.assertEqual(await self.read(attachment("s", "f")), b"former")
        self.assertEqual(list((self.root / ".incoming").iterdir()), [])

    async def test_clears_interrupted_uploads(self) -> None:
        """What a crash left half written is gone after a later start; another server's may be under way."""
        half, young, folder = (self.root / ".incoming" / name for name in ("half", "young", "folder"))
        half.write_bytes(b"x")
        young.write_bytes(b"x")
        folder.mkdir()
        for old in (half, folder):
            os.utime(old, (0, 0))
        await self.another(self.root)
        self.assertEqual(list((self.root / ".incoming").iterdir()), [young])

    async def another(self, root: Path) -> Folder:
        """Another server's store."""
        store = Folder(root, "", Threads(reactor), self.clock)
        await store.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(store.stop()))
        return store

    async def test_names(self) -> None:
        """A folder has a name by which servers recognise that they share it."""
        shared, other = await self.another(self.root), await self.another(self.root / "other")
        self.assertTrue(shared.name)
        self.assertEqual(shared.name, self.store.name)
        self.assertNotEqual(other.name, self.store.name)

    async def test_sweep(self) -> None:
        """Folders of sessions that do not exist go, once nobody has touched them for a day (D45)."""
        for session in ("alive", "dead", "young"):
            await self.put(session, "f", b"x")
        for session in ("alive", "dead"):
            self.age(session, DAY + 60)
        asked: list[str] = []

        async def existing(sessions: Sequence[str]) -> set[str]:
            asked.extend(sessions)
            return {"alive"} & set(sessions)

        self.assertEqual(await self.store.sweep(existing), 1)
        self.assertEqual(sorted(asked), ["alive", "dead"])
        left = sorted(entry.name for entry in (self.root / "sessions").iterdir())
        self.assertEqual(left, ["alive", "young"])

    async def test_sweep_distrusts_an_empty_database(self) -> None:
        """When no folder at all has its session, the database is the wrong one and nothing is removed."""
        await self.put("a", "f", b"x")
        self.age("a", 2 * DAY)

        async def existing(sessions: Sequence[str]) -> set[str]:
            return set()

        self.assertEqual(await self.store.sweep(existing), 0)
        self.assertEqual(await self.store.used("a", owner=OWNER), 1)

    async def test_sweep_of_nothing(self) -> None:
        """A server without attachments has nothing to sweep."""

        async def existing(sessions: Sequence[str]) -> set[str]:
            raise AssertionError("there is nothing to ask for")

        self.assertEqual(await self.store.sweep(existing), 0)

    def age(self, session: str, seconds: float) -> None:
        then = self.clock.seconds() - seconds
        for place in (self.root / "sessions" / session, self.root / "sessions" / session / "attachments"):
            os.utime(place, (then, then))


class Breaking(io.BytesIO):
    """A body that cannot be read to its end."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            raise OSError("broken")
        return super().read(size)


class S3Tests(StoreTests, TestCase):
    """The store in an S3-compatible service."""

    s3: S3Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.s3 = S3Server()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.s3.stop()

    async def setUp(self) -> None:
        self.config = Config(**self.s3.settings)
        self.store = await self.started(self.config)

    async def started(self, config: Config) -> ObjectStore:
        store = object_store(config, reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(store.stop()))
        await store.start()
        return store

    async def read(self, path: str) -> bytes | None:
        url = self.store.download_url(path)
        assert url is not None
        response = await treq.get(url, persistent=False)
        content: bytes = await treq.content(response)
        return content if response.code == 200 else None

    def test_addresses(self) -> None:
        """Public files have the bucket's public address, and nothing is a file of this machine."""
        self.assertIsInstance(self.store, S3)
        self.assertEqual(self.store.public_url("public/a b.png"), "https://files.test/public/a%20b.png")
        self.assertFalse(self.store.local)
        self.assertIsNone(
            self.successResultOf(Deferred.fromCoroutine(self.store.file("public/a", owner=OWNER)))
        )
        unsaid = object_store(replace(self.config, s3_public_url=None), reactor)
        self.assertEqual(unsaid.public_url("public/a"), f"http://127.0.0.1:{self.s3.port}/{BUCKET}/public/a")

    async def test_upload_form(self) -> None:
        """A client uploads with the form, whose fields come in the contract's order (http.md T1)."""
        path = attachment("form", "f.enc")
        form = self.store.upload_form(path, 100)
        assert form is not None
        self.assertEqual(form.url, f"http://127.0.0.1:{self.s3.port}/happy")
        names = [
            "bucket",
            "key",
            "x-amz-date",
            "x-amz-algorithm",
            "x-amz-credential",
            "policy",
            "x-amz-signature",
        ]
        self.assertEqual(list(form.fields), names)
        files = {"file": ("blob", io.BytesIO(b"sealed"))}
        response = await treq.post(form.url, data=dict(form.fields), files=files, persistent=False)
        await treq.content(response)
        self.assertEqual(response.code, 204)
        self.assertEqual(await self.read(path), b"sealed")

    def test_form_policy(self) -> None:
        """The policy admits only this path and size, and is signed as S3 prescribes."""
        path = attachment("form", "f.enc")
        form = self.store.upload_form(path, 100)
        assert form is not None
        policy = json.loads(base64.b64decode(form.fields["policy"]))
        exact = {tuple(condition) for condition in policy["conditions"] if condition[0] == "eq"}
        for name in ("bucket", "key", "x-amz-date", "x-amz-algorithm", "x-amz-credential"):
            self.assertIn(("eq", f"${name}", form.fields[name]), exact)
        self.assertIn(["content-length-range", 0, 100], policy["conditions"])
        _, day, region, service, request = form.fields["x-amz-credential"].split("/")
        key = f"AWS4{SECRET}".encode()
        for part in (day, region, service, request):
            key = hmac.digest(key, part.encode(), hashlib.sha256)
        expected = hmac.new(key, form.fields["policy"].encode(), hashlib.sha256).hexdigest()
        self.assertEqual(form.fields["x-amz-signature"], expected)

    async def test_start(self) -> None:
        """A missing bucket does not stop the start; a wrong name or nobody there does, in one line."""
        await self.started(replace(self.config, s3_bucket="missing"))
        with self.assertNoLogs("urllib3"), self.assertRaises(StartupError) as caught:
            await self.started(replace(self.config, s3_port=1))
        self.assertEqual(str(caught.exception), "s3-host: nothing answers at 127.0.0.1:1")
        for wrong, setting in (({"s3_bucket": "Bad Name"}, "s3-bucket"), ({"s3_region": "a b"}, "s3-host")):
            with self.assertRaises(StartupError) as caught:
                await self.started(replace(self.config, **wrong))
            self.assertIn(f"{setting}: ", str(caught.exception))

    async def test_sweep(self) -> None:
        """A bucket is left alone: others may use it too."""

        async def existing(sessions: Sequence[str]) -> set[str]:
            raise AssertionError("nothing should be asked for")

        await self.put("orphan", "f", b"x")
        self.assertEqual(await self.store.sweep(existing), 0)


class RemovalTests(SynchronousTestCase):
    """Trying again."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.removals = Removals(self.clock)
        self.tries: list[float] = []

    def begin(self, failures: int) -> Deferred[None]:
        def remove() -> Deferred[None]:
            self.tries.append(self.clock.seconds())
            return fail(OSError()) if len(self.tries) <= failures else succeed(None)

        return self.removals.begin(remove)

    def test_until_it_works(self) -> None:
        """A removal that fails is tried again, later each time, until it succeeds."""
        removal = self.begin(failures=2)
        self.assertNoResult(removal)
        self.clock.pump([1, 10, 60, 600])
        self.assertEqual(self.tries, [0, 1, 11])
        self.assertIsNone(self.successResultOf(removal))

    def test_not_for_ever(self) -> None:
        """After the last try it is given up, without a failure for anybody to handle."""
        removal = self.begin(failures=9)
        self.clock.pump([1, 10, 60, 600])
        self.assertEqual(len(self.tries), 4)
        self.assertIsNone(self.successResultOf(removal))

    def test_stop(self) -> None:
        """Stopping gives up what waits for another try, and leaves no timer behind."""
        removal = self.begin(failures=9)
        self.removals.stop()
        self.assertIsNone(self.successResultOf(removal))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ThreadsTests(TestCase):
    """The threads of blocking calls."""

    def setUp(self) -> None:
        self.before = set(enumerate_threads())

    async def test_a_store_that_does_not_answer(self) -> None:
        """A call that hangs during a stop occupies no thread that the end of the process waits for."""
        threads, answer = Threads(reactor), Event()
        self.addCleanup(answer.set)
        threads.start()
        await threads.run(answer.is_set)
        running = threads.run(answer.wait)
        stopping = threads.stop()
        busy = [thread for thread in enumerate_threads() if thread not in self.before and not thread.daemon]
        self.assertEqual((busy, stopping.called), ([], False))
        answer.set()
        await running
        await stopping
