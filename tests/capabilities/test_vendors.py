"""The credential vault through the pipeline, on a real database."""

from __future__ import annotations

from typing import Any

from happy.keys.vault import Vault
from tests.capabilities.asking import CapabilityCase
from tests.harness import psql


class VendorTests(CapabilityCase):
    """The endpoints below /v1/connect/:vendor."""

    async def setUp(self) -> None:
        await super().setUp()
        self.account = await self.new_account()

    async def register(self, vendor: str, token: str) -> Any:
        path = f"/v1/connect/{vendor}/register"
        return (await self.ask("POST", path, {"token": token}, account=self.account)).json

    async def token(self, vendor: str) -> Any:
        return (await self.ask("GET", f"/v1/connect/{vendor}/token", account=self.account)).json["token"]

    async def tokens(self) -> Any:
        return (await self.ask("GET", "/v1/connect/tokens", account=self.account)).json["tokens"]

    async def test_story(self) -> None:
        """A credential is stored, read back exactly, replaced and forgotten, also twice (D4)."""
        self.assertIsNone(await self.token("openai"))
        self.assertEqual(await self.register("openai", '{"oauth":{"a":1}}'), {"success": True})
        self.assertEqual(await self.token("openai"), '{"oauth":{"a":1}}')
        await self.register("openai", "")
        self.assertEqual(await self.token("openai"), "")
        for _ in range(2):
            answer = await self.ask("DELETE", "/v1/connect/openai", account=self.account)
            self.assertEqual((answer.status, answer.json), (200, {"success": True}))
        self.assertIsNone(await self.token("openai"))

    async def test_sealed_at_rest(self) -> None:
        """The database holds what only the vault can open, under the contract's path."""
        await self.register("gemini", "secret")
        [(stored,)] = psql(
            self.dsn, 'SELECT "token" FROM "ServiceAccountToken" WHERE "accountId" = %s', [self.account]
        )
        self.assertNotIn(b"secret", bytes(stored))
        path = ("user", self.account, "vendors", "gemini", "token")
        self.assertEqual(self.server.vault.open(path, bytes(stored)), "secret")

    async def test_listed_in_order(self) -> None:
        """The list is in the order of first storing (D36); a NUL character survives."""
        await self.register("openai", "one")
        await self.register("anthropic", "nul \0")
        await self.register("openai", "three")
        expected = [{"vendor": "openai", "token": "three"}, {"vendor": "anthropic", "token": "nul \0"}]
        self.assertEqual(await self.tokens(), expected)

    async def test_another_master_secret(self) -> None:
        """What cannot be opened any more is left out of the list, and null by itself (T-9)."""
        await self.register("openai", "lost")
        self.change(vault=Vault(b"w" * 64))
        await self.register("gemini", "kept")
        self.assertEqual(await self.tokens(), [{"vendor": "gemini", "token": "kept"}])
        self.assertIsNone(await self.token("openai"))

    async def test_unknown_vendor(self) -> None:
        """Only three names exist; they are matched exactly."""
        for vendor in ("other", "OpenAI", ""):
            answer = await self.ask("GET", f"/v1/connect/{vendor}/token", account=self.account)
            self.assertEqual(answer.status, 400)
            self.assertTrue(answer.json["message"].startswith("params/vendor Invalid option"))

    async def test_belongs_to_the_account(self) -> None:
        """Another account sees nothing of it, and a vanished one cannot store any."""
        await self.register("openai", "mine")
        self.account = await self.new_account()
        self.assertEqual(await self.tokens(), [])
        self.account = "nobody"
        self.assertEqual((await self.register("openai", "x"))["statusCode"], 500)
