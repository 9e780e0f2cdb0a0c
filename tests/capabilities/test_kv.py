"""The key-value store (http.md 6.8)."""

from __future__ import annotations

import secrets
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import LogLevel, capturedLogs

from happy.capabilities.kv import Mutation, conflicts
from happy.storage import kv as storage
from tests.capabilities.calling import CallingCase, Reply
from tests.harness import psql

Change = tuple[str, str | None, float]


KEYS = st.sampled_from("ab")


@given(
    st.dictionaries(KEYS, st.integers(0, 1)),
    st.lists(st.tuples(KEYS, st.integers(-1, 2)), min_size=1, max_size=4),
)
def test_conflicts(versions: dict[str, int], wanted: list[tuple[str, int]]) -> None:
    """A batch is accepted if and only if every version is the stored one and nothing is created twice."""
    stored = {key: storage.Slot(b"x", version) for key, version in versions.items()}
    mutations = [Mutation(key=key, value=None, version=version) for key, version in wanted]
    new = [key for key, _ in wanted if key not in versions]
    acceptable = all(version == versions.get(key, -1) for key, version in wanted) and len(new) == len(
        set(new)
    )
    errors = conflicts(stored, mutations)
    assert (errors == []) == acceptable
    assert all(error.version == versions.get(error.key, -1) for error in errors)


class StoreTests(CallingCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.account = await self.new_account()

    async def _put(self, *changes: Change) -> Reply:
        mutations = [{"key": key, "value": value, "version": version} for key, value, version in changes]
        return await self.request(self.account, "POST", "/v1/kv", {"mutations": mutations})

    async def _version(self, *changes: Change) -> list[int]:
        status, body = await self._put(*changes)
        self.assertEqual(status, 200, body)
        return [result["version"] for result in body["results"]]

    async def _errors(self, *changes: Change) -> list[tuple[str, int, str | None]]:
        status, body = await self._put(*changes)
        self.assertEqual((status, body["success"]), (409, False))
        self.assertEqual({error["error"] for error in body["errors"]}, {"version-mismatch"})
        return [(error["key"], error["version"], error["value"]) for error in body["errors"]]

    async def test_create_and_change(self) -> None:
        """The first version is 0, and every change adds one."""
        self.assertEqual(await self._version(("k", "djE=", -1)), [0])
        self.assertEqual(await self._version(("k", "djI=", 0)), [1])
        answer = await self.get(self.account, "/v1/kv/k")
        self.assertEqual(answer, {"key": "k", "value": "djI=", "version": 1})

    async def test_stale(self) -> None:
        """Every mismatch is listed in request order with what is stored, and nothing is written."""
        await self._version(("x", "eA==", -1), ("y", "eQ==", -1))
        changes = (("z", "bmV3", 3), ("y", "bmV3", 0), ("x", "bmV3", -1))
        self.assertEqual(await self._errors(*changes), [("z", -1, None), ("x", 0, "eA==")])
        for version in (0.5, -2, 1e300):
            self.assertEqual(await self._errors(("y", "bmV3", version)), [("y", 0, "eQ==")])
        listed = await self.get(self.account, "/v1/kv")
        self.assertEqual([item["value"] for item in listed["items"]], ["eA==", "eQ=="])
        self.assertEqual(len(self.heard(self.account)), 1)

    async def test_deleted(self) -> None:
        """Null and the empty text delete; readers miss the key, whose version goes on."""
        self.assertEqual(await self._version(("k", "djE=", -1), ("e", "", -1), ("n", None, -1)), [0, 0, 0])
        self.assertEqual(await self._version(("k", None, 0)), [1])
        for key in "ken":
            answer = await self.request(self.account, "GET", f"/v1/kv/{key}")
            self.assertEqual(answer, (404, {"error": "Key not found"}))
        self.assertEqual(await self.get(self.account, "/v1/kv"), {"items": []})
        bulk = await self.post(self.account, "/v1/kv/bulk", {"keys": ["k", "e"]})
        self.assertEqual(bulk, {"values": []})
        self.assertEqual(await self._errors(("k", "djI=", -1)), [("k", 1, None)])
        self.assertEqual(await self._version(("k", "djI=", 1)), [2])

    async def test_same_key_twice(self) -> None:
        """Twice the stored version: the last value wins. Created twice, or in a row: a conflict."""
        self.assertEqual(await self._errors(("k", "djE=", -1), ("k", "djI=", -1)), [("k", -1, None)])
        self.assertEqual(await self._errors(("k", "djE=", -1), ("k", "djI=", 0)), [("k", -1, None)])
        await self._version(("k", "djE=", -1))
        self.assertEqual(await self._version(("k", "djI=", 0), ("k", "djM=", 0)), [1, 1])
        self.assertEqual((await self.get(self.account, "/v1/kv/k"))["value"], "djM=")

    async def test_decoding(self) -> None:
        """New values are decoded leniently, later ones strictly: undecodable text is the caller's mistake."""
        await self._version(("a", "-_-_", -1), ("b", "A A\nE C", -1))
        listed = await self.get(self.account, "/v1/kv")
        self.assertEqual([item["value"] for item in listed["items"]], ["+/+/", "AAEC"])
        self.assertEqual(await self._version(("a", "AAECAw", 0)), [1])
        answer = await self._put(("b", "AAEC", 0), ("a", "-_-_", 1))
        self.assertEqual(answer.status, 400)
        self.assertTrue(answer.body["message"].startswith("body/mutations/1/value "))
        self.assertEqual((await self.get(self.account, "/v1/kv/b"))["version"], 0)

    async def test_announced_as_sent(self) -> None:
        """One update for the batch, in request order, with the values as they were sent."""
        await self._version(("b", "YWI", -1), ("a", None, -1), ("c", "", -1))
        changes = [
            {"key": "b", "value": "YWI", "version": 0},
            {"key": "a", "value": None, "version": 0},
            {"key": "c", "value": "", "version": 0},
        ]
        self.assertEqual(self.heard(self.account), [{"t": "kv-batch-update", "changes": changes}])

    async def test_prefixes(self) -> None:
        """A prefix is taken literally (D13); keys come in order, up to the limit."""
        keys = ("a_b", "axb", "a%b", "a\\b")
        await self._version(*((key, "MQ==", -1) for key in keys))
        for prefix, found in (("a_", ["a_b"]), ("a%25", ["a%b"]), ("a%5C", ["a\\b"]), ("b", [])):
            listed = await self.get(self.account, f"/v1/kv?prefix={prefix}")
            self.assertEqual([item["key"] for item in listed["items"]], found)
        everything = [item["key"] for item in (await self.get(self.account, "/v1/kv?prefix="))["items"]]
        self.assertEqual(sorted(everything), sorted(keys))
        limited = await self.get(self.account, "/v1/kv?limit=2")
        self.assertEqual([item["key"] for item in limited["items"]], everything[:2])

    async def test_bulk(self) -> None:
        """Several keys are read at once, each once; missing ones are left out."""
        await self._version(("a", "MQ==", -1), ("b", "Mg==", -1))
        answer = await self.post(self.account, "/v1/kv/bulk", {"keys": ["b", "a", "none", "a"]})
        self.assertEqual([value["key"] for value in answer["values"]], ["a", "b"])
        for keys in ([], ["k"] * 101, [1]):
            refused = await self.request(self.account, "POST", "/v1/kv/bulk", {"keys": keys})
            self.assertEqual(refused.status, 400)

    async def test_accounts_are_apart(self) -> None:
        """An account sees its own keys only."""
        await self._version(("k", "djE=", -1))
        stranger = await self.new_account()
        self.assertEqual((await self.request(stranger, "GET", "/v1/kv/k")).status, 404)
        self.assertEqual(await self.get(stranger, "/v1/kv"), {"items": []})

    async def test_simultaneous_batches(self) -> None:
        """Batches on different keys all succeed; of those on one key, one does (D6)."""
        apart = [Deferred.fromCoroutine(self._put((f"k{n}", "MQ==", -1))) for n in range(4)]
        together = [Deferred.fromCoroutine(self._put(("one", "MQ==", -1))) for _ in range(4)]
        self.assertEqual([answer.status for answer in await gatherResults(apart)], [200] * 4)
        answers = await gatherResults(together)
        self.assertEqual(sorted(answer.status for answer in answers), [200, 409, 409, 409])

    async def test_another_server_inserts(self) -> None:
        """A key that another server made after the versions were checked is a conflict, not overwritten."""

        async def lock_too_early(tx: object, account: str, keys: object) -> dict[str, storage.Slot]:
            lock.side_effect = real
            psql(
                self.dsn,
                'INSERT INTO "UserKVStore" ("id", "accountId", "key", "value", "updatedAt") '
                "SELECT %s || n, %s, 'k' || n, 'theirs', now() FROM generate_series(1, 1) AS n",
                (account, account),
            )
            return {}

        real = storage.lock
        with mock.patch.object(storage, "lock", side_effect=lock_too_early) as lock:
            errors = await self._errors(("k0", "MQ==", -1), ("k1", "MQ==", -1))
        self.assertEqual(errors, [("k1", 0, "dGhlaXJz")])
        self.assertEqual((await self.request(self.account, "GET", "/v1/kv/k0")).status, 404)
        self.assertEqual(self.heard(self.account), [])

    async def test_failures(self) -> None:
        """What the database refuses is answered in each endpoint's own words."""
        self.assertEqual(await self._put(("\0", "MQ==", -1)), (500, {"error": "Failed to mutate values"}))
        answer = await self.request(self.account, "GET", "/v1/kv/%00")
        self.assertEqual(answer, (500, {"error": "Failed to get value"}))
        answer = await self.request(self.account, "GET", "/v1/kv?prefix=%00")
        self.assertEqual(answer, (500, {"error": "Failed to list items"}))
        answer = await self.request(self.account, "POST", "/v1/kv/bulk", {"keys": ["\0"]})
        self.assertEqual(answer, (500, {"error": "Failed to get values"}))

    async def test_nobody_fills_the_log(self) -> None:
        """What PostgreSQL cannot hold is a client's fault, and no error of the server's."""
        with capturedLogs() as events:
            await self._put(("\0", "MQ==", -1))
            await self._put((secrets.token_hex(9000), "MQ==", -1))  # longer than an index entry
        self.assertEqual([event for event in events if event["log_level"] > LogLevel.debug], [])
