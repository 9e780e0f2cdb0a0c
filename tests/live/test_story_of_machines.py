"""What people do with their machines and all the rest, played by the Python client against a whole server."""

from __future__ import annotations

import uuid
from typing import Any

from twisted.internet.defer import Deferred

from happy.client import (
    Account,
    RpcFailed,
    Scope,
    Socket,
    call_sealed,
    sealed_method,
)
from tests.live.story import StoryCase


class MachineTests(StoryCase):
    """Machines, remote calls and access keys."""

    async def setUp(self) -> None:
        await super().setUp()
        self.machine = str(uuid.uuid4())

    async def daemon(self, terminal: Account) -> Socket:
        """The daemon of a machine that was registered."""
        await terminal.register_machine(self.machine, {"host": "laptop"}, {"status": "running"})
        return await self.connect(terminal, Scope.machine(self.machine))

    async def test_machine(self) -> None:
        """The phone sees a machine appear, change, come and go."""
        phone = await self.new_phone()
        watching, terminal = await self.connect(phone), await self.pair(phone)
        daemon = await self.daemon(terminal)
        appeared = (await watching.next_update("new-machine"))["body"]
        cipher = phone.keys.cipher_of(appeared["dataEncryptionKey"])
        assert cipher.open(appeared["metadata"]) == {"host": "laptop"}
        online = await watching.next_ephemeral("machine-activity")
        assert (online["id"], online["active"]) == (self.machine, True)
        state = {"machineId": self.machine, "daemonState": cipher.seal(2), "expectedVersion": 1}
        assert (await daemon.call("machine-update-state", state))["result"] == "success"
        changed = await watching.next_update(lambda update: "daemonState" in update["body"])
        assert cipher.open(changed["body"]["daemonState"]["value"]) == 2
        mismatch = await daemon.call("machine-update-state", state)
        assert (mismatch["result"], mismatch["version"]) == ("version-mismatch", 2)
        (machine,) = await phone.machines()
        assert (machine.metadata, machine.daemon_state) == ({"host": "laptop"}, 2)
        await daemon.close()
        assert (await watching.next_ephemeral("machine-activity"))["active"] is False

    async def test_remote_call(self) -> None:
        """The phone calls a method of the daemon; only the two of them can read what is said."""
        phone = await self.new_phone()
        calling, daemon = await self.connect(phone), await self.daemon(await self.pair(phone))
        (machine,) = await phone.machines()

        def spawn(params: dict[str, Any]) -> dict[str, Any]:
            return {"spawned": params["directory"]}

        await daemon.register(f"{self.machine}:spawn", sealed_method(machine.cipher, spawn))
        answer = await call_sealed(calling, machine.cipher, f"{self.machine}:spawn", {"directory": "/"})
        assert answer == {"spawned": "/"}
        with self.assertRaises(RpcFailed):
            await call_sealed(calling, machine.cipher, f"{self.machine}:spawn", {})
        with self.assertRaises(RpcFailed) as refused:
            await daemon.rpc(f"{self.machine}:spawn", machine.cipher.seal({}))
        assert refused.exception.error == "Cannot call RPC on the same socket"

    async def test_daemon_leaves_during_a_call(self) -> None:
        """A call fails as soon as its target is gone."""
        phone = await self.new_phone()
        calling, daemon = await self.connect(phone), await self.daemon(await self.pair(phone))
        asked: Deferred[None] = Deferred()

        def hang(params: Any) -> Deferred[None]:
            asked.callback(None)
            return Deferred()

        await daemon.register(f"{self.machine}:hang", hang)
        call = Deferred.fromCoroutine(calling.rpc(f"{self.machine}:hang", "x"))
        await asked
        await daemon.close()
        with self.assertRaises(RpcFailed) as failed:
            await call
        assert failed.exception.error == "RPC target disconnected"

    async def test_call_waits_for_its_target(self) -> None:
        """A call that comes before the method is there is answered once it is."""
        phone = await self.new_phone()
        calling, terminal = await self.connect(phone), await self.pair(phone)
        call = Deferred.fromCoroutine(calling.rpc(f"{self.machine}:late", "x"))
        await calling.call("ping")
        daemon = await self.daemon(terminal)
        await daemon.register(f"{self.machine}:late", lambda params: params * 2)
        assert await call == "xx"

    async def test_access_keys(self) -> None:
        """A key for a session and machine is read over the socket, and changes by version."""
        _, terminal, session = await self.work()
        daemon = await self.daemon(terminal)
        asked = {"sessionId": session.id, "machineId": self.machine}
        assert await daemon.call("access-key-get", asked) == {"ok": True, "accessKey": None}
        path = f"/v1/access-keys/{session.id}/{self.machine}"
        await terminal.call("POST", path, {"data": "one"})
        changed = await terminal.call("PUT", path, {"data": "two", "expectedVersion": 1})
        assert changed == {"success": True, "version": 2}
        stale = await terminal.call("PUT", path, {"data": "three", "expectedVersion": 1})
        assert (stale["error"], stale["currentData"]) == ("version-mismatch", "two")
        answer = await daemon.call("access-key-get", asked)
        assert (answer["ok"], answer["accessKey"]["data"], answer["accessKey"]["dataVersion"]) == (
            True,
            "two",
            2,
        )
        unknown = await daemon.call("access-key-get", asked | {"machineId": "another"})
        assert unknown == {"ok": False, "error": "Session or machine not found"}


class ExtrasTests(StoryCase):
    """Attachments, notifications, usage."""

    async def test_attachment(self) -> None:
        """What the terminal uploads the phone downloads and opens."""
        phone, terminal, session = await self.work()
        data = bytes(range(256)) * 400
        reference = await terminal.upload(session, data)
        assert reference.startswith(f"sessions/{session.id}/attachments/")
        (seen,) = await phone.sessions()
        assert await phone.download(seen, reference) == data

    async def test_notification(self) -> None:
        """Devices hear of an event; the push is held back while the app is in the foreground."""
        phone, terminal, session = await self.work()
        watching = await self.connect(phone, app_state="background")
        event = (session, "done", "Finished", "All tests pass")
        assert (await terminal.push_event(*event))["result"] == "no_tokens"
        signal = await watching.next_ephemeral("session-event")
        assert (signal["sessionId"], signal["kind"], signal["title"]) == (session.id, "done", "Finished")
        watching.emit("app-state", {"state": "active"})
        await watching.call("ping")
        outcome = await terminal.push_event(*event)
        assert (outcome["result"], outcome["reason"]) == ("suppressed", "active-ui-client")

    async def test_usage(self) -> None:
        """A report of the terminal shows on the phone and in the account's sums."""
        phone, terminal, session = await self.work()
        watching = await self.connect(phone)
        serving = await self.connect(terminal, Scope.session(session.id))
        report = {"key": "turn", "sessionId": session.id, "tokens": {"total": 7}, "cost": {"total": 0.5}}
        assert (await serving.call("usage-report", report))["success"] is True
        assert (await watching.next_ephemeral("usage"))["tokens"]["total"] == 7
        usage = await phone.call("POST", "/v1/usage/query", {"sessionId": session.id})
        assert (usage["totalReports"], usage["usage"][0]["cost"]) == (1, {"total": 0.5})
