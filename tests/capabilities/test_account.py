"""Profile and settings through the pipeline, on a real database."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import LogLevel, capturedLogs

from happy.realtime.updates import NullableVersion, UpdateAccount, devices_of
from tests.capabilities.asking import BASE, CapabilityCase
from tests.harness import psql

GITHUB = {"id": 7, "login": "ada", "name": None, "email": None, "avatar_url": "https://a"}
AVATAR = {"path": "public/users/a b/x.png", "width": 4, "height": 5, "thumbhash": "aGFzaA=="}


class ProfileTests(CapabilityCase):
    """GET /v1/account/profile."""

    async def test_new_account(self) -> None:
        """A new account shows all members, empty."""
        account = await self.new_account()
        profile = (await self.ask("GET", "/v1/account/profile", account=account)).json
        self.assertIsInstance(profile.pop("timestamp"), int)
        empty = dict.fromkeys(["firstName", "lastName", "username", "avatar", "github"])
        self.assertEqual(profile, {"id": account, **empty, "connectedServices": []})

    async def test_everything_set(self) -> None:
        """The avatar has a public address, the GitHub profile is sanitised (D12), vendors are in order."""
        account = await self.new_account()
        psql(
            self.dsn,
            """
            INSERT INTO "GithubUser" ("id", "profile", "updatedAt") VALUES ('7', %s, now());
            UPDATE "Account" SET "githubUserId" = '7', "avatar" = %s, "firstName" = 'Ada', "username" = 'ada'
                WHERE "id" = %s
            """,
            [json.dumps(GITHUB), json.dumps(AVATAR), account],
        )
        for vendor in ("openai", "anthropic"):
            path = f"/v1/connect/{vendor}/register"
            await self.ask("POST", path, {"token": "t"}, account=account)
        profile = (await self.ask("GET", "/v1/account/profile", account=account)).json
        self.assertEqual(profile["avatar"], {**AVATAR, "url": f"{BASE}/files/public/users/a%20b/x.png"})
        shown = {"id": 7, "login": "ada", "name": "ada", "bio": None, "avatar_url": "https://a"}
        self.assertEqual(profile["github"], shown)
        self.assertEqual(
            (profile["firstName"], profile["lastName"], profile["username"]), ("Ada", None, "ada")
        )
        self.assertEqual(profile["connectedServices"], ["openai", "anthropic"])

    async def test_vanished(self) -> None:
        """The profile of an account without a row is a failure."""
        answer = await self.ask("GET", "/v1/account/profile", account="nobody")
        self.assertEqual((answer.status, answer.json["error"]), (500, "Internal Server Error"))

    async def test_what_a_vanished_one_stores(self) -> None:
        """Whoever still has its token is told that nothing is stored, and writes nothing into the log."""
        entry = {"key": "k", "value": "YQ==", "version": -1}
        sealed = dict.fromkeys(("header", "body", "dataEncryptionKey"), "YQ==")
        with capturedLogs() as events:
            for path, body in (
                ("/v1/sessions", {"tag": "t", "metadata": "m"}),
                ("/v1/machines", {"id": "machine of nobody", "metadata": "m"}),
                ("/v1/artifacts", {"id": "6f9619ff-8b86-4d01-b42d-00cf4fc964fe", **sealed}),
                ("/v1/kv", {"mutations": [entry]}),
                ("/v1/push-tokens", {"token": "token of nobody"}),
                ("/v1/connect/openai/register", {"token": "t"}),
                ("/v1/account/settings", {"settings": "s", "expectedVersion": 0}),
            ):
                answer = await self.ask("POST", path, body, account="nobody")
                self.assertEqual(answer.status, 500, path)
        self.assertEqual([event for event in events if event["log_level"] >= LogLevel.warn], [])


class SettingsTests(CapabilityCase):
    """GET and POST /v1/account/settings."""

    async def change(self, account: str, settings: str | None, expected: int) -> Any:  # type: ignore[override]
        body = {"settings": settings, "expectedVersion": expected}
        return (await self.ask("POST", "/v1/account/settings", body, account=account)).json

    async def test_versions(self) -> None:
        """A change needs the current version, and its loser learns what won."""
        account = await self.new_account()
        read = await self.ask("GET", "/v1/account/settings", account=account)
        self.assertEqual(read.json, {"settings": None, "settingsVersion": 0})
        self.assertEqual(await self.change(account, "one", 0), {"success": True, "version": 1})
        mismatch = {
            "success": False,
            "error": "version-mismatch",
            "currentVersion": 1,
            "currentSettings": "one",
        }
        self.assertEqual(await self.change(account, "two", 0), mismatch)
        self.assertEqual(await self.change(account, None, 1), {"success": True, "version": 2})
        read = await self.ask("GET", "/v1/account/settings", account=account)
        self.assertEqual(read.json, {"settings": None, "settingsVersion": 2})

    async def test_announced(self) -> None:
        """An accepted change is announced to the account's devices; a refused one is not."""
        account = await self.new_account()
        await self.change(account, "one", 0)
        await self.change(account, "two", 0)
        heard = [(update.audience, update.seq, update.body) for update in self.hub.updates]
        body = UpdateAccount(id=account, settings=NullableVersion("one", 1))
        self.assertEqual(heard, [(devices_of(account), 1, body)])

    async def test_racing_changes(self) -> None:
        """Of changes from the same version exactly one succeeds."""
        account = await self.new_account()
        changes = [Deferred.fromCoroutine(self.change(account, f"by {n}", 0)) for n in range(5)]
        answers = await gatherResults(changes)
        self.assertEqual(sum(answer["success"] for answer in answers), 1)
        self.assertEqual(len(self.hub.updates), 1)

    async def test_unstorable(self) -> None:
        """What the database refuses, and an account without a row, get the endpoint's own failure."""
        account = await self.new_account()
        failure = {"success": False, "error": "Failed to update account settings"}
        self.assertEqual(await self.change(account, "nul \0", 0), failure)
        self.assertEqual((await self.change(account, "nul \0", 1))["error"], "version-mismatch")
        self.assertEqual(await self.change("nobody", "x", 0), failure)
        read = await self.ask("GET", "/v1/account/settings", account="nobody")
        self.assertEqual((read.status, read.json), (500, {"error": "Failed to get account settings"}))
        self.assertEqual(self.hub.updates, [])

    async def test_any_version_number(self) -> None:
        """A version beyond what the column holds is simply another version."""
        account = await self.new_account()
        answer = await self.change(account, "x", 2**53 - 1)
        self.assertEqual((answer["error"], answer["currentVersion"]), ("version-mismatch", 0))
