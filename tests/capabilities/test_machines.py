"""Machines over HTTP and sockets (http.md 6.5, realtime.md B.6)."""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults

from tests.capabilities.calling import CallingCase
from tests.harness import psql


class RegistrationTests(CallingCase):
    async def test_new(self) -> None:
        """A new machine is inactive, and announced to devices and then to its own connections."""
        account = await self.new_account()
        body = {"id": f"m {account}", "metadata": "meta", "daemonState": "up", "dataEncryptionKey": "AAE"}
        machine = (await self.post(account, "/v1/machines", body))["machine"]
        moment = machine["createdAt"]
        self.assertEqual(
            machine,
            {
                "id": body["id"],
                "metadata": "meta",
                "metadataVersion": 1,
                "daemonState": "up",
                "daemonStateVersion": 1,
                "dataEncryptionKey": "AAE=",
                "active": False,
                "activeAt": moment,
                "createdAt": moment,
                "updatedAt": moment,
            },
        )
        first, second = self.hub.updates
        self.assertEqual([first.audience.machine, second.audience.machine], [None, body["id"]])
        self.assertEqual([first.seq, second.seq], [1, 2])
        identity = {"machineId": machine.pop("id")}
        self.assertEqual(
            self.heard(account),
            [
                {"t": "new-machine", **identity, "seq": 0, **machine},
                {"t": "update-machine", **identity, "metadata": {"value": "meta", "version": 1}},
            ],
        )

    async def test_empty_values(self) -> None:
        """Empty state and empty key are none; a null state is refused."""
        account = await self.new_account()
        body = {"id": f"m {account}", "metadata": "", "daemonState": "", "dataEncryptionKey": ""}
        machine = (await self.post(account, "/v1/machines", body))["machine"]
        self.assertEqual([machine["daemonState"], machine["daemonStateVersion"]], [None, 0])
        self.assertIsNone(machine["dataEncryptionKey"])
        answer = await self.request(account, "POST", "/v1/machines", {**body, "daemonState": None})
        self.assertEqual(answer.status, 400)

    async def test_known(self) -> None:
        """A known machine is answered as it is stored, without an announcement."""
        account = await self.new_account()
        body = {"id": f"m {account}", "metadata": "meta"}
        first = await self.post(account, "/v1/machines", body)
        self.heard(account)
        self.assertEqual(await self.post(account, "/v1/machines", {**body, "metadata": "\0"}), first)
        self.assertEqual(self.heard(account), [])

    async def test_foreign(self) -> None:
        """Another account's id is a conflict (D2), and that machine cannot be seen or deleted."""
        account, stranger = await self.new_account(), await self.new_account()
        machine = await self.register_machine(account, f"m-{account}")
        answer = await self.request(stranger, "POST", "/v1/machines", {"id": machine, "metadata": "mine"})
        self.assertEqual(answer, (409, {"error": "Machine is registered to another account"}))
        self.assertEqual(await self.get(stranger, "/v1/machines"), [])
        for method in ("GET", "DELETE"):
            answer = await self.request(stranger, method, f"/v1/machines/{machine}")
            self.assertEqual(answer, (404, {"error": "Machine not found"}))
        self.assertEqual(self.heard(stranger), [])

    async def test_race(self) -> None:
        """Simultaneous registrations of one id by two accounts: one succeeds (D1, D2)."""
        accounts = [await self.new_account(), await self.new_account()]
        body = {"id": f"m {accounts[0]}", "metadata": ""}
        answers = await gatherResults(
            [
                Deferred.fromCoroutine(self.request(account, "POST", "/v1/machines", body))
                for account in accounts * 2
            ]
        )
        self.assertEqual(sorted(answer.status for answer in answers), [200, 200, 409, 409])

    async def test_reading(self) -> None:
        """Machines are listed by their last sign of life, and read one by one, with their number."""
        account = await self.new_account()
        one = await self.register_machine(account, f"one/{account}")
        two = await self.register_machine(account, f"two {account}")
        psql(self.dsn, """UPDATE "Machine" SET "lastActiveAt" = '2020-01-01' WHERE "id" = %s""", (two,))
        listed = await self.get(account, "/v1/machines")
        self.assertEqual([machine["id"] for machine in listed], [one, two])
        answer = await self.get(account, f"/v1/machines/one%2F{account}")
        self.assertEqual(answer, {"machine": listed[0]})
        self.assertEqual(listed[0]["seq"], 0)

    async def test_delete(self) -> None:
        """Deleting takes the machine's access keys and its pending heartbeat along; sessions stay."""
        account = await self.new_account()
        machine = await self.register_machine(account, f"m-{account}")
        session = await self.open_session(account)
        key = f"/v1/access-keys/{session}/{machine}"
        await self.post(account, key, {"data": "k"})
        self.heard(account)
        answer = await self.request(account, "DELETE", f"/v1/machines/{machine}")
        self.assertEqual(answer, (200, {"success": True}))
        self.assertEqual(self.heard(account), [{"t": "delete-machine", "machineId": machine}])
        self.assertEqual(self.notes, [("forget", machine)])
        self.assertEqual(await self.get(account, "/v1/machines"), [])
        self.assertEqual(len((await self.get(account, "/v1/sessions"))["sessions"]), 1)
        await self.register_machine(account, machine)
        self.assertEqual(await self.get(account, key), {"accessKey": None})


class VersionTests(CallingCase):
    async def test_metadata(self) -> None:
        """Metadata changes by version, without a sign of life, and is told to the machine's watchers."""
        account = await self.new_account()
        machine = await self.register_machine(account, f"m-{account}")
        self.heard(account)
        change = {"machineId": machine, "metadata": "new", "expectedVersion": 1}
        answer = await self.emit(account, "machine-update-metadata", change)
        self.assertEqual(answer, {"result": "success", "version": 2, "metadata": "new"})
        self.assertEqual(self.hub.updates[0].audience.machine, machine)
        self.assertEqual(
            self.heard(account),
            [{"t": "update-machine", "machineId": machine, "metadata": {"value": "new", "version": 2}}],
        )
        answer = await self.emit(account, "machine-update-metadata", {**change, "metadata": "stale"})
        self.assertEqual(answer, {"result": "version-mismatch", "version": 2, "metadata": "new"})
        self.assertEqual(self.heard(account), [])
        self.assertFalse((await self.get(account, "/v1/machines"))[0]["active"])

    async def test_daemon_state(self) -> None:
        """The daemon's state changes by version and makes the machine active."""
        account = await self.new_account()
        machine = await self.register_machine(account, f"m-{account}")
        psql(self.dsn, """UPDATE "Machine" SET "lastActiveAt" = '2020-01-01' WHERE "id" = %s""", (machine,))
        self.heard(account)
        change = {"machineId": machine, "daemonState": "up", "expectedVersion": 0}
        answer = await self.emit(account, "machine-update-state", change)
        self.assertEqual(answer, {"result": "success", "version": 1, "daemonState": "up"})
        self.assertEqual(
            self.heard(account),
            [{"t": "update-machine", "machineId": machine, "daemonState": {"value": "up", "version": 1}}],
        )
        (stored,) = await self.get(account, "/v1/machines")
        self.assertTrue(stored["active"])
        self.assertEqual(stored["activeAt"], stored["updatedAt"])
        answer = await self.emit(account, "machine-update-state", change)
        self.assertEqual(answer, {"result": "version-mismatch", "version": 1, "daemonState": "up"})

    async def test_errors(self) -> None:
        """Unfit data and machines not owned are answered with an error that says which."""
        account, stranger = await self.new_account(), await self.new_account()
        machine = await self.register_machine(account, f"m-{account}")
        good = {"machineId": machine, "metadata": "x", "daemonState": "x", "expectedVersion": 1}
        invalid = {"result": "error", "message": "Invalid parameters"}
        unknown = {"result": "error", "message": "Machine not found"}
        for name, member in (
            ("machine-update-metadata", "metadata"),
            ("machine-update-state", "daemonState"),
        ):
            for bad in ({"machineId": ""}, {"machineId": 5}, {member: None}, {"expectedVersion": "1"}):
                self.assertEqual(await self.emit(account, name, good | bad), invalid)
            self.assertEqual(await self.emit(account, name, None), invalid)
            self.assertEqual(await self.emit(account, name, {**good, "machineId": "none"}), unknown)
            self.assertEqual(await self.emit(stranger, name, good), unknown)
            failed = await self.emit(account, name, {**good, "machineId": "\0"})
            self.assertEqual(failed, {"result": "error", "message": "Internal error"})
