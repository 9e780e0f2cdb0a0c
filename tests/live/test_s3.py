"""Attachments in a real S3 server, through the whole server and its client."""

from __future__ import annotations

import io
import json
import os

import treq
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from happy.client import Account
from happy.client.records import Session
from tests.live.case import LiveCase
from tests.operator.case import run
from tests.outbound.s3_server import S3Server


class S3Tests(LiveCase):
    """A server that keeps its files in S3."""

    s3: S3Server

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.s3 = S3Server()
        cls.settings = cls.s3.settings

    @classmethod
    def tearDownClass(cls) -> None:
        cls.s3.stop()
        super().tearDownClass()

    async def new_session(self) -> tuple[Account, Session]:
        phone = await self.new_phone()
        return phone, await phone.create_session("tag", {})

    async def test_attachment(self) -> None:
        """The bytes go to S3 and come from there, past this server; only it knows whose they are."""
        phone, session = await self.new_session()
        content = os.urandom(300_000)
        reference = await phone.upload(session, content)
        self.assertEqual(self.s3.names(), [reference])
        self.assertEqual(await phone.download(session, reference), content)
        foreign = await (await self.new_phone()).request("GET", f"/v1/{reference}")
        self.assertEqual((foreign.status, foreign.json()), (404, {"error": "Session not found"}))

    async def test_deleted_account(self) -> None:
        """Attachments and pictures of an account that the operator deletes go from the bucket, no others."""
        (phone, session), (other, elsewhere) = await self.new_session(), await self.new_session()
        before = set(self.s3.names())
        await phone.upload(session, b"content")
        kept = await other.upload(elsewhere, b"content")
        picture = f"public/users/{phone.id}/avatars/a.png"
        self.s3.client.put_object("happy", picture, io.BytesIO(b"picture"), 7)
        settings = {name.replace("_", "-"): value for name, value in self.s3.settings.items()}
        file = self.folder / "happy.toml"
        file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
        where = ["--config", str(file), "--data-dir", str(self.folder), "--database-url", self.dsn]
        ran = await deferToThread(run, [*where, "accounts", "delete", phone.id, "--yes", "--json"])
        self.assertEqual((ran.status, ran.document["deleted"]["files"]), (0, 2), ran)
        self.assertEqual(set(self.s3.names()) - before, {kept})

    async def test_redirect(self) -> None:
        """The attachment's address here leads to a signed one in S3; uploading to it is refused."""
        phone, session = await self.new_session()
        reference = await phone.upload(session, b"content")
        answer = await phone.request("GET", f"/v1/{reference}")
        self.assertEqual((answer.status, answer.content), (302, b""))
        (location,) = answer.headers.getRawHeaders("location") or ()
        response = await treq.get(location, persistent=False)
        self.assertEqual(session.cipher.open_blob(await treq.content(response)), b"content")
        headers = {"content-type": "application/octet-stream"}
        upload = await phone.request("PUT", f"/v1/{reference}", content=b"other", headers=headers)
        self.assertEqual(upload.status, 404)
        self.assertEqual(upload.json(), {"error": "Direct upload not available in S3 mode"})
        files = await phone.request("GET", "/files/public/x.png")
        self.assertEqual((files.status, files.json()["error"]), (404, "Not found"))

    async def test_deletion(self) -> None:
        """The attachments of a deleted session go too, those of others stay."""
        phone, session = await self.new_session()
        other = await phone.create_session("other", {})
        kept = await phone.upload(other, b"content")
        gone = [await phone.upload(session, b"content") for _ in range(2)]
        removal = self.watch_removal()
        await phone.call("DELETE", f"/v1/sessions/{session.id}")
        await removal
        names = self.s3.names()
        self.assertIn(kept, names)
        self.assertEqual([name for name in gone if name in names], [])

    def watch_removal(self) -> Deferred[None]:
        """Fires when the files of the session that is deleted next are gone."""
        objects, over = self.running.server.objects, Deferred[None]()
        remove = objects.remove_session

        def watched(session: str, *, owner: str) -> Deferred[None]:
            return remove(session, owner=owner).chainDeferred(over) or over

        self.patch(objects, "remove_session", watched)
        return over
