"""Which master secret a database is served with."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from happy.base.errors import StartupError
from happy.keys.tokens import Keys, OtherKey, fingerprint
from happy.keys.vault import FORMER_PATH, Vault, github_path, vendor_path
from happy.service.identity import recognise
from happy.storage import github, secrets, vendors
from happy.storage.transaction import Transaction
from tests.harness import DatabaseCase, psql

DAY = 24 * 3600 * 1000


def keys(number: int) -> Keys:
    """Those of some secret, without the slow derivation."""
    return Keys(bearer_seed=bytes([number]) * 32, state_seed=b"s" * 32, vault_master=bytes([number]) * 64)


class IdentityTests(DatabaseCase):
    """A database and the secrets that come to it."""

    fresh = True

    async def recognise(self, number: int, accept_new: bool = False) -> list[OtherKey]:
        """What a start with this secret finds."""
        return await recognise(self.database, keys(number), accept_new)

    async def refused(self, number: int) -> str:
        """The one line that a start with this secret ends with."""
        error = await self.assertFailure(Deferred.fromCoroutine(self.recognise(number)), StartupError)
        self.assertNotIn("\n", str(error))
        return str(error)

    async def prepare(self, number: int, after: int, grace: int) -> None:
        """As ``happyctl secret rotate`` does."""
        sealed = Vault(keys(number).vault_master).seal(FORMER_PATH, keys(after).vault_master.hex())

        async def work(tx: Transaction) -> None:
            await secrets.prepare(tx, keys(number).public_key, grace, sealed)

        await self.database.transact(work)

    async def test_the_first_is_remembered(self) -> None:
        """A database without a record takes the secret it is started with, and refuses another one."""
        self.assertEqual(await self.recognise(1), [])
        self.assertEqual(await self.recognise(1), [])
        line = await self.refused(2)
        self.assertIn(fingerprint(keys(1).public_key), line)
        self.assertIn(fingerprint(keys(2).public_key), line)
        self.assertIn("--accept-new-secret", line)
        self.assertEqual(await self.recognise(1), [])

    async def test_another_may_be_accepted(self) -> None:
        """What the operator means holds from then on, and the former one's tokens count no longer."""
        await self.recognise(1)
        self.assertEqual(await self.recognise(2, accept_new=True), [])
        self.assertEqual(await self.recognise(2), [])
        self.assertIn("was replaced by a later one", await self.refused(1))
        self.assertEqual(await self.recognise(1, accept_new=True), [])
        self.assertIn("was replaced by a later one", await self.refused(2))

    async def test_a_prepared_one_follows(self) -> None:
        """A start with it lets the former's tokens count for the time of grace, and the former is refused."""
        await self.recognise(1)
        await self.prepare(3, after=1, grace=DAY)
        await self.prepare(2, after=1, grace=DAY)
        self.assertEqual(await self.recognise(1), [OtherKey(keys(2).public_key)])
        before = self.database.now()
        (former,) = await self.recognise(2)
        self.assertEqual(former.public_key, keys(1).public_key)
        self.assertTrue(before <= former.until * 1000 - DAY <= self.database.now())
        self.assertEqual(await self.recognise(2), [former])
        await self.refused(1)
        await self.refused(3)

    async def test_grace_ends(self) -> None:
        """Once the time is over the former key is not among those that count."""
        await self.recognise(1)
        await self.prepare(2, after=1, grace=0)
        self.assertEqual(await self.recognise(2), [])

    async def test_what_is_sealed_goes_along(self) -> None:
        """Credentials are sealed anew; those that the former secret cannot open stay as they are."""
        await self.recognise(1)
        account, vault = await self.new_account(), Vault(keys(1).vault_master)

        async def store(tx: Transaction) -> None:
            await vendors.register(tx, account, "openai", vault.seal(vendor_path(account, "openai"), "mine"))
            await vendors.register(tx, account, "gemini", b"damaged")
            await github.store_user(tx, "7", {}, vault.seal(github_path(account), "hub"))
            await github.link(tx, account, "7", username="ada", first_name=None, last_name=None, avatar=None)

        await self.database.transact(store)
        await self.prepare(2, after=1, grace=DAY)
        await self.recognise(2)
        later = Vault(keys(2).vault_master)
        found = dict(await self.database.read(lambda tx: vendors.all_of(tx, account)))
        self.assertEqual(later.open(vendor_path(account, "openai"), found["openai"]), "mine")
        self.assertEqual(found["gemini"], b"damaged")
        ((token,),) = psql(self.dsn, 'SELECT "token" FROM "GithubUser"')
        self.assertEqual(later.open(github_path(account), bytes(token)), "hub")
