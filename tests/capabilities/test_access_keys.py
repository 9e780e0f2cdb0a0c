"""Access keys over HTTP and sockets (http.md 6.6, realtime.md B.6)."""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults

from tests.capabilities.calling import CallingCase


class AccessKeyTests(CallingCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.account = await self.new_account()
        self.session = await self.open_session(self.account)
        self.machine = await self.register_machine(self.account, f"m-{self.account}")
        self.path = f"/v1/access-keys/{self.session}/{self.machine}"

    async def test_story(self) -> None:
        """A key is created once, changed by version, and read over both transports alike."""
        self.assertEqual(await self.get(self.account, self.path), {"accessKey": None})
        created = await self.post(self.account, self.path, {"data": "one"})
        self.assertEqual(created["accessKey"]["dataVersion"], 1)
        self.assertEqual(await self.get(self.account, self.path), {"accessKey": created["accessKey"]})
        again = await self.request(self.account, "POST", self.path, {"data": "two"})
        self.assertEqual(again, (409, {"error": "Access key already exists"}))

        change = {"data": "three", "expectedVersion": 1}
        changed = await self.request(self.account, "PUT", self.path, change)
        self.assertEqual(changed, (200, {"success": True, "version": 2}))
        stale = await self.request(self.account, "PUT", self.path, {**change, "data": "four"})
        self.assertEqual(
            stale,
            (
                200,
                {
                    "success": False,
                    "error": "version-mismatch",
                    "currentVersion": 2,
                    "currentData": "three",
                },
            ),
        )
        pair = {"sessionId": self.session, "machineId": self.machine}
        over_http = await self.get(self.account, self.path)
        self.assertEqual(await self.emit(self.account, "access-key-get", pair), {"ok": True, **over_http})
        self.assertEqual(over_http["accessKey"]["data"], "three")

    async def test_pair_must_be_owned(self) -> None:
        """A key needs a session and a machine that both are the caller's."""
        stranger = await self.new_account()
        missing = (404, {"error": "Session or machine not found"})
        other_session = await self.open_session(stranger)
        for account, path in (
            (stranger, self.path),
            (stranger, f"/v1/access-keys/{other_session}/{self.machine}"),
            (self.account, f"/v1/access-keys/none/{self.machine}"),
            (self.account, f"/v1/access-keys/{self.session}/none"),
        ):
            self.assertEqual(await self.request(account, "GET", path), missing)
            self.assertEqual(await self.request(account, "POST", path, {"data": "x"}), missing)

    async def test_change_of_nothing(self) -> None:
        """Only an existing key can be changed."""
        answer = await self.request(self.account, "PUT", self.path, {"data": "x", "expectedVersion": 0})
        self.assertEqual(answer, (404, {"error": "Access key not found"}))

    async def test_race(self) -> None:
        """Of simultaneous creations one succeeds, the others find the key existing (D1)."""
        creations = [
            Deferred.fromCoroutine(self.request(self.account, "POST", self.path, {"data": str(n)}))
            for n in range(4)
        ]
        answers = await gatherResults(creations)
        self.assertEqual(sorted(answer.status for answer in answers), [200, 409, 409, 409])

    async def test_failures(self) -> None:
        """What the database refuses is answered in each endpoint's own words."""
        for method, path, body, answer in (
            ("GET", f"/v1/access-keys/%00/{self.machine}", None, {"error": "Failed to get access key"}),
            ("POST", self.path, {"data": "\0"}, {"error": "Failed to create access key"}),
        ):
            self.assertEqual(await self.request(self.account, method, path, body), (500, answer))
        await self.post(self.account, self.path, {"data": "one"})
        answer = await self.request(self.account, "PUT", self.path, {"data": "\0", "expectedVersion": 1})
        self.assertEqual(answer, (500, {"success": False, "error": "Failed to update access key"}))

    async def test_unstorable_data_is_not_stored_where_nothing_would_be(self) -> None:
        """A key that exists, is missing or has another version comes before data that cannot be stored."""
        change = {"data": "\0", "expectedVersion": 7}
        self.assertEqual((await self.request(self.account, "PUT", self.path, change)).status, 404)
        await self.post(self.account, self.path, {"data": "one"})
        self.assertEqual((await self.request(self.account, "POST", self.path, {"data": "\0"})).status, 409)
        stale = await self.request(self.account, "PUT", self.path, change)
        self.assertEqual((stale.status, stale.body["currentData"]), (200, "one"))

    async def test_socket_errors(self) -> None:
        """Sockets learn that ids are missing, or that the pair is not theirs."""
        stranger = await self.new_account()
        pair = {"sessionId": self.session, "machineId": self.machine}
        required = {"ok": False, "error": "Invalid parameters: sessionId and machineId are required"}
        for data in (None, {}, {**pair, "sessionId": ""}, {**pair, "machineId": {"not": "x"}}):
            self.assertEqual(await self.emit(self.account, "access-key-get", data), required)
        missing = {"ok": False, "error": "Session or machine not found"}
        self.assertEqual(await self.emit(stranger, "access-key-get", pair), missing)
        self.assertEqual(
            await self.emit(self.account, "access-key-get", {**pair, "sessionId": "none"}), missing
        )
        failed = {"ok": False, "error": "Internal error"}
        self.assertEqual(await self.emit(self.account, "access-key-get", {**pair, "sessionId": "\0"}), failed)
