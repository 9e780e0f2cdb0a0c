"""Attachments through the pipeline: on a folder, with signed addresses, and with S3."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase

from happy.capabilities import _links, attachments
from happy.capabilities.attachments import LARGEST
from happy.keys.vault import Vault
from happy.service.object_store import object_store
from tests.capabilities.asking import BASE, Answered, CapabilityCase

BYTES = "application/octet-stream"


class AttachmentCase(CapabilityCase):
    """An account with a session."""

    async def setUp(self) -> None:
        await super().setUp()
        self.account = await self.new_account()
        self.session = await self.new_session(self.account)
        self.base = f"/v1/sessions/{self.session}/attachments"

    async def request_upload(self, size: Any = 10, **request: Any) -> Answered:
        body = {"filename": "f", "size": size}
        return await self.ask(
            "POST", f"{self.base}/request-upload", body, **{"account": self.account, **request}
        )

    async def request_download(self, ref: Any, **request: Any) -> Answered:
        path = f"{self.base}/request-download"
        return await self.ask("POST", path, {"ref": ref}, **{"account": self.account, **request})

    async def put(self, target: str, content: bytes = b"x", **request: Any) -> Answered:
        return await self.ask("PUT", target, content=content, **{"content_type": BYTES, **request})


class FolderTests(AttachmentCase):
    """Bytes go through this server."""

    async def test_story(self) -> None:
        """A file goes up and comes down byte for byte, and is replaced by a later upload."""
        upload = (await self.request_upload()).json
        file = upload["ref"].removeprefix(f"sessions/{self.session}/attachments/")
        self.assertRegex(file, r"^[0-9a-f-]{36}\.enc$")
        self.assertEqual((upload["method"], set(upload)), ("PUT", {"ref", "uploadUrl", "method"}))
        content = os.urandom(70_000)
        stored = await self.put(f"{self.base}/{file}", content, account=self.account)
        self.assertEqual((stored.status, stored.json), (200, {"ok": True}))
        read = await self.ask("GET", f"{self.base}/{file}", account=self.account)
        self.assertEqual((read.status, read.content, read.content_type), (200, content, BYTES))
        await self.put(f"{self.base}/{file}", b"", account=self.account)
        read = await self.ask("GET", f"{self.base}/{file}", account=self.account)
        self.assertEqual((read.status, read.content), (200, b""))

    async def test_signed_addresses(self) -> None:
        """The addresses work without a token, below the base that the client uses (D20)."""
        upload = (await self.request_upload()).json
        self.assertTrue(upload["uploadUrl"].startswith(f"{BASE}{self.base}/"))
        self.assertEqual((await self.put(upload["uploadUrl"], b"sealed")).status, 200)
        download = (await self.request_download(upload["ref"])).json
        self.assertEqual((await self.ask("GET", download["downloadUrl"])).content, b"sealed")
        self.assertEqual((await self.ask("GET", upload["uploadUrl"])).status, 401)
        self.assertEqual((await self.put(download["downloadUrl"])).status, 401)
        self.assertEqual((await self.ask("GET", download["downloadUrl"].replace(".enc", ".enk"))).status, 401)
        self.assertEqual((await self.ask("GET", urlsplit(download["downloadUrl"]).path)).status, 401)

    async def test_the_session_decides(self) -> None:
        """A signed address is worth nothing once the account lost the session."""
        download = (await self.request_download(f"sessions/{self.session}/attachments/f")).json
        query = parse_qs(urlsplit(download["downloadUrl"]).query)
        other = await self.new_session(await self.new_account())
        forged = f"/v1/sessions/{other}/attachments/f?signature={query['signature'][0]}"
        self.assertEqual((await self.ask("GET", forged)).status, 401)
        now = self.server.now()
        signature = _links.sign(self.server.vault, now, "GET", self.account, other, "f")
        mine = await self.ask("GET", f"/v1/sessions/{other}/attachments/f?signature={signature}")
        self.assertEqual((mine.status, mine.json), (404, {"error": "Session not found"}))

    async def test_foreign_sessions(self) -> None:
        """Nobody reaches attachments of another account's session."""
        ref = (await self.request_upload()).json["ref"]
        path = f"{self.base}/{ref.rpartition('/')[2]}"
        await self.put(path, b"secret", account=self.account)
        other = await self.new_account()
        answers = [
            await self.request_upload(account=other),
            await self.put(path, b"overwritten", account=other),
            await self.request_download(ref, account=other),
            await self.ask("GET", path, account=other),
        ]
        for answer in answers:
            self.assertEqual((answer.status, answer.json), (404, {"error": "Session not found"}))
        self.assertEqual((await self.ask("GET", path, account=self.account)).content, b"secret")

    async def test_file_names(self) -> None:
        """A name is a name in one folder: nothing leads out, and nothing that no file can have."""
        for name in ("%2e%2e", "a..b", "a%2Fb", "", ".", "a%00b", "x" * 256, "%C3%A4" * 128):
            for answer in (
                await self.put(f"{self.base}/{name}", account=self.account),
                await self.ask("GET", f"{self.base}/{name}", account=self.account),
            ):
                self.assertEqual(
                    (answer.status, answer.json), (404, {"error": "Invalid attachment file"}), name
                )
        odd = f"{self.base}/%C3%A4%20%25%5C"
        self.assertEqual((await self.put(odd, b"odd", account=self.account)).status, 200)
        self.assertEqual((await self.ask("GET", odd, account=self.account)).content, b"odd")

    async def test_missing_file(self) -> None:
        """A file nobody uploaded is not found, although its address can be asked for."""
        ref = f"sessions/{self.session}/attachments/none.enc"
        url = (await self.request_download(ref)).json["downloadUrl"]
        answer = await self.ask("GET", url)
        self.assertEqual((answer.status, answer.json), (404, {"error": "Attachment not found"}))

    async def test_sizes(self) -> None:
        """Ten MiB fit, one byte more does not and changes nothing."""
        path = f"{self.base}/f"
        self.assertEqual((await self.put(path, b"x" * LARGEST, account=self.account)).status, 200)
        answer = await self.put(path, b"x" * (LARGEST + 1), account=self.account)
        self.assertEqual((answer.status, answer.json), (413, {"error": "File too large (max 10MB)"}))
        self.assertEqual(await self.server.objects.used(self.session, owner=self.account), LARGEST)

    async def test_kinds_of_bodies(self) -> None:
        """Text and JSON are stored as they are (D32); nothing, broken JSON and other types are refused."""
        path = f"{self.base}/f"
        for kind, content in (("text/plain", b"text"), ("application/json", b'{"a": 1 }')):
            stored = await self.put(path, content, content_type=kind, account=self.account)
            self.assertEqual(stored.status, 200)
            self.assertEqual((await self.ask("GET", path, account=self.account)).content, content)
        for kind, content in ((None, b""), ("application/json", b'{"a":')):
            refused = await self.put(path, content, content_type=kind, account=self.account)
            self.assertEqual(refused.status, 400)
        self.assertEqual((await self.put(path, content_type="image/png", account=self.account)).status, 415)

    async def test_announced_sizes(self) -> None:
        """Only the upper bound of the announced size counts, and it is a matter of validation."""
        for size in (LARGEST, 0, -1, 1.5):
            self.assertEqual((await self.request_upload(size)).status, 200)
        answer = await self.request_upload(LARGEST + 1)
        self.assertEqual(answer.status, 400)
        self.assertEqual(answer.json["message"], f"body/size Too big: expected number to be <={LARGEST}")
        self.assertEqual((await self.request_upload("10")).status, 400)

    async def test_refs(self) -> None:
        """A ref has to name a file of this very session."""
        folder = f"sessions/{self.session}/attachments/"
        for ref, error in (
            ("sessions/other/attachments/f", "Ref does not belong to this session"),
            (f"{folder}../f", "Invalid attachment ref"),
            (folder, "Invalid attachment ref"),
            (f"{folder}a/b", "Invalid attachment ref"),
        ):
            answer = await self.request_download(ref)
            self.assertEqual((answer.status, answer.json), (400, {"error": error}))
        answer = await self.request_download(f"{folder}{'f' * 300} (1).enc")
        self.assertEqual(
            urlsplit(answer.json["downloadUrl"]).path.rpartition("/")[2], f"{'f' * 300}%20(1).enc"
        )
        answer = await self.request_download(5)
        self.assertEqual((answer.status, answer.json), (400, {"error": "Error"}))

    async def test_limit(self) -> None:
        """Sixty upload requests a minute for an account, counted before the session is looked at."""
        self.base = "/v1/sessions/none/attachments"
        statuses = [(await self.request_upload()).status for _ in range(61)]
        self.assertEqual(statuses, [404] * 60 + [429])
        other = await self.request_upload(account=await self.new_account())
        self.assertEqual(other.status, 404)

    async def test_quota(self) -> None:
        """A session may hold so many bytes; announcing and sending more is refused (D45)."""
        self.change(config=replace(self.server.config, attachment_quota=100))
        self.assertEqual((await self.put(f"{self.base}/f", b"x" * 60, account=self.account)).status, 200)
        self.assertEqual((await self.request_upload(40)).status, 200)
        for answer in (
            await self.request_upload(41),
            await self.put(f"{self.base}/g", b"x" * 41, account=self.account),
        ):
            self.assertEqual(answer.status, 413)
            self.assertEqual(set(answer.json), {"error"})
        self.assertEqual(await self.server.objects.used(self.session, owner=self.account), 60)

    async def test_quota_of_the_account(self) -> None:
        """What all sessions of an account hold together may have a bound, whatever others hold."""
        self.change(config=replace(self.server.config, account_attachments=100))
        other = await self.new_session(self.account, "other")
        self.assertEqual((await self.put(f"{self.base}/f", b"x" * 60, account=self.account)).status, 200)
        path = f"/v1/sessions/{other}/attachments/f"
        refused = await self.put(path, b"x" * 41, account=self.account)
        self.assertEqual(refused.status, 413)
        self.assertEqual(refused.json, {"error": "The attachments of this account take up all their space"})
        self.assertEqual((await self.put(path, b"x" * 40, account=self.account)).status, 200)

    async def test_uploads_at_once(self) -> None:
        """Of several that are under way together only those are stored for which there is room."""
        self.change(config=replace(self.server.config, account_attachments=100))
        uploads = [
            Deferred.fromCoroutine(self.put(f"{self.base}/{name}", b"x" * 60, account=self.account))
            for name in "abc"
        ]
        answers = await gatherResults(uploads)
        self.assertEqual(sorted(answer.status for answer in answers), [200, 413, 413])

    async def test_waiting_has_an_end(self) -> None:
        """Who waits for uploads that do not end is refused, and nothing of it is stored."""
        self.patch(attachments, "TURN_SECONDS", 0)
        release = await self.server.database.linearizer.acquire([f"files {self.account}"])
        path = f"{self.base}/a"
        self.assertEqual((await self.put(path, account=self.account)).status, 503)
        release()
        self.assertEqual((await self.ask("GET", path, account=self.account)).status, 404)


class S3Tests(AttachmentCase):
    """Bytes go to the store itself; signing needs no server."""

    async def setUp(self) -> None:
        await super().setUp()
        config = replace(
            self.config,
            s3_host="s3.test",
            s3_access_key="key",
            s3_secret_key="secret key",
            s3_bucket="happy",
            s3_public_url="https://files.test",
        )
        self.change(config=config, objects=object_store(config, reactor))

    async def test_upload(self) -> None:
        """An upload is a form for the bucket."""
        answer = (await self.request_upload()).json
        self.assertEqual(answer["uploadUrl"], "https://s3.test/happy")
        self.assertEqual(answer["method"], "POST")
        self.assertEqual(answer["formFields"]["key"], answer["ref"])

    async def test_no_direct_upload(self) -> None:
        """Bytes are not taken here, whatever session and file they are for."""
        answer = await self.put("/v1/sessions/none/attachments/f", account=self.account)
        self.assertEqual(
            (answer.status, answer.json), (404, {"error": "Direct upload not available in S3 mode"})
        )

    async def test_download(self) -> None:
        """Downloads are signed addresses of the bucket, and the own address redirects there."""
        ref = f"sessions/{self.session}/attachments/f.enc"
        url = (await self.request_download(ref)).json["downloadUrl"]
        self.assertTrue(url.startswith(f"https://s3.test/happy/{ref}?"))
        self.assertEqual(parse_qs(urlsplit(url).query)["X-Amz-Expires"], ["900"])
        answer = await self.ask("GET", f"{self.base}/f.enc", account=self.account)
        self.assertEqual((answer.status, answer.content), (302, b""))
        self.assertTrue(answer.headers["location"].startswith(f"https://s3.test/happy/{ref}?"))


class LinkTests(SynchronousTestCase):
    """The signature by itself."""

    vault = Vault(b"v" * 64)

    def account_of(self, signature: str, **changes: Any) -> str | None:
        facts = {"purpose": "GET", "session": "s", "file": "f", "now": 1000.0, "vault": self.vault, **changes}
        return _links.account_of(signature=signature, **facts)

    def test_good_for_what_it_was_made_for(self) -> None:
        """A signature names its account for one method, session and file, for fifteen minutes."""
        signature = _links.sign(self.vault, 1000.5, "GET", "a", "s", "f")
        self.assertEqual(self.account_of(signature), "a")
        self.assertEqual(self.account_of(signature, now=1899.9), "a")
        for change in (
            {"now": 1900.0},
            {"purpose": "PUT"},
            {"session": "t"},
            {"file": "g"},
            {"session": "s\0f", "file": ""},
            {"vault": Vault(b"w" * 64)},
        ):
            self.assertIsNone(self.account_of(signature, **change), change)

    def test_garbage(self) -> None:
        """Whatever is no signature names nobody."""
        good = _links.sign(self.vault, 1000.0, "GET", "a", "s", "f")
        expiry, _, code = good.split(".")
        for text in (
            "",
            ".",
            "..",
            "1.a.",
            "x",
            f"9{good}",
            f"{expiry}.b.{code}",
            good[:-1],
            good + "\udc80",
            "😀.a.b",
        ):
            self.assertIsNone(self.account_of(text), text)
