"""What people do with Happy, played by the Python client against a whole server."""

from __future__ import annotations

import time
import uuid
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from happy.client import (
    Account,
    AccountKeys,
    Cipher,
    DeviceLinking,
    NotPending,
    Refused,
    RpcFailed,
    Scope,
    Session,
    Socket,
    SocketRefused,
    TerminalKeys,
    TerminalPairing,
    call_sealed,
    sealed_method,
    sign_in,
)
from tests.live.case import LiveCase


def now() -> int:
    """The time in epoch milliseconds."""
    return int(time.time() * 1000)


class StoryCase(LiveCase):
    """Devices of one account."""

    async def pair(self, phone: Account, *, v2: bool = True) -> Account:
        """A terminal that the phone let in."""
        pairing = TerminalPairing(self.remote(client="cli-coding-session/1"), v2=v2)
        assert await pairing.poll() is None
        await phone.approve_terminal(pairing.public_key)
        return await pairing.wait()

    async def work(self) -> tuple[Account, Account, Session]:
        """A phone, a terminal, and a session of the terminal."""
        phone = await self.new_phone()
        terminal = await self.pair(phone)
        session = await terminal.create_session("tag", {"path": "/home/me"})
        return phone, terminal, session

    async def heard(self, socket: Socket, cipher: Cipher, seq: int) -> Any:
        """The opened content of the message with this number."""
        update = await socket.next_update(lambda update: update["body"].get("message", {}).get("seq") == seq)
        return cipher.open(update["body"]["message"]["content"]["c"])


class IdentityTests(StoryCase):
    """Accounts, logins and pairing."""

    async def test_login(self) -> None:
        """The same secret is the same account; another secret is another one."""
        keys = AccountKeys.generate()
        first, second = await sign_in(self.server, keys), await sign_in(self.server, keys)
        assert first.token != second.token
        assert first.id == second.id
        assert (await first.call("GET", "/v1/account/profile"))["id"] == first.id
        assert (await self.new_phone()).id != first.id

    async def test_credentials_are_required(self) -> None:
        """Neither requests nor sockets get in without a valid token, and both say why."""
        stranger = Account(self.server, "not-a-token", AccountKeys.generate())
        with self.assertRaises(Refused) as refused:
            await stranger.sessions()
        assert (refused.exception.status, refused.exception.body) == (401, {"error": "Invalid token"})
        with self.assertRaises(SocketRefused) as kept_out:
            await stranger.open_socket()
        assert kept_out.exception.message == "Invalid authentication token"
        stranger.token = (await self.new_phone()).token
        with self.assertRaises(SocketRefused) as kept_out:
            await stranger.open_socket(Scope("session-scoped", {}))
        assert kept_out.exception.message == "Session ID required for session-scoped clients"

    async def test_forged_login(self) -> None:
        """A signature by another key is refused."""
        login = AccountKeys.generate().login() | {"publicKey": AccountKeys.generate().login()["publicKey"]}
        with self.assertRaises(Refused) as refused:
            await self.server.call("POST", "/v1/auth", login)
        assert (refused.exception.status, refused.exception.body) == (401, {"error": "Invalid signature"})

    async def test_terminal_in_the_new_format(self) -> None:
        """A new terminal gets a token and the content key, and shares what it makes with the phone."""
        phone = await self.new_phone()
        terminal = await self.pair(phone)
        assert isinstance(terminal.keys, TerminalKeys)
        assert terminal.id == phone.id
        made = await terminal.create_session("tag", {"host": "laptop"})
        assert [session.metadata for session in await phone.sessions()] == [{"host": "laptop"}]
        assert (await terminal.create_session("tag", {}, made.cipher)).id == made.id

    async def test_terminal_in_the_old_format(self) -> None:
        """An old terminal gets the account secret, and its records need no key of their own."""
        phone = await self.new_phone()
        terminal = await self.pair(phone, v2=False)
        assert isinstance(terminal.keys, AccountKeys)
        session = await terminal.create_session("tag", {"host": "laptop"})
        assert session.record.data_encryption_key is None
        assert [session.metadata for session in await phone.sessions()] == [{"host": "laptop"}]

    async def test_first_approval_wins(self) -> None:
        """A terminal belongs to whoever approved it first; approving again is not offered."""
        phone, other = await self.new_phone(), await self.new_phone()
        pairing = TerminalPairing(self.server)
        with self.assertRaises(NotPending):
            await phone.approve_terminal(pairing.public_key)
        await pairing.poll()
        await phone.approve_terminal(pairing.public_key)
        with self.assertRaises(NotPending) as late:
            await other.approve_terminal(pairing.public_key)
        assert late.exception.status == "authorized"
        assert (await pairing.wait()).id == phone.id

    async def test_second_phone(self) -> None:
        """A linked device holds the same secret."""
        phone = await self.new_phone()
        linking = DeviceLinking(self.server)
        assert await linking.poll() is None
        await phone.approve_account(linking.public_key)
        second = await linking.wait()
        assert (second.id, second.keys.content_public_key) == (phone.id, phone.keys.content_public_key)


class SessionTests(StoryCase):
    """Sessions and their messages, live and stored."""

    async def test_conversation_that_every_device_follows(self) -> None:
        """Messages of either side and either way reach all other devices at once, in one order, readable."""
        phone = await self.new_phone()
        desktop = await sign_in(self.remote(), phone.keys)  # type: ignore[arg-type]
        terminal = await self.pair(phone)
        watching, elsewhere = await self.connect(phone), await self.connect(desktop)
        seqs: dict[str, list[int]] = {"phone": [], "desktop": []}
        watching.on_update(lambda update: seqs["phone"].append(update["seq"]))
        elsewhere.on_update(lambda update: seqs["desktop"].append(update["seq"]))

        session = await terminal.create_session("tag", {"path": "/"})
        body = (await watching.next_update("new-session"))["body"]
        cipher = phone.keys.cipher_of(body["dataEncryptionKey"])
        assert (body["id"], cipher.open(body["metadata"])) == (session.id, {"path": "/"})

        serving = await self.connect(terminal, Scope.session(session.id))
        seen = next(one for one in await phone.sessions() if one.id == session.id)
        await phone.send_messages(seen, [{"role": "user", "content": "list files"}])
        assert await self.heard(serving, session.cipher, 1) == {"role": "user", "content": "list files"}
        serving.emit("message", {"sid": session.id, "message": session.cipher.seal("a\nb"), "localId": "l2"})
        assert await self.heard(watching, cipher, 2) == "a\nb"
        await terminal.send_messages(session, ["c", "d"])
        for socket in (watching, elsewhere, serving):
            assert await self.heard(socket, cipher, 4) == "d"
        for n, content in enumerate([{"role": "user", "content": "list files"}, "a\nb", "c"], start=1):
            assert await self.heard(elsewhere, cipher, n) == content
        assert seqs["phone"] == seqs["desktop"] == sorted(set(seqs["phone"]))
        assert serving.untaken("update")[-1]["body"]["message"]["seq"] == 3

    async def test_sender_is_not_told(self) -> None:
        """The socket that sent a message is the only one that does not hear it."""
        phone, terminal, session = await self.work()
        serving, second = [await self.connect(terminal, Scope.session(session.id)) for _ in range(2)]
        serving.emit("message", {"sid": session.id, "message": session.cipher.seal(1)})
        assert await self.heard(second, session.cipher, 1) == 1
        await phone.send_messages(session, [2])
        assert await self.heard(serving, session.cipher, 2) == 2
        assert serving.untaken("update") == []

    async def test_sending_again(self) -> None:
        """A repeated batch stores nothing, announces nothing, and is answered as before."""
        phone, terminal, session = await self.work()
        serving = await self.connect(terminal, Scope.session(session.id))
        first = await phone.send_messages(session, ["a", "b"], ["1", "2"])
        again = await phone.send_messages(session, ["x", "b", "c"], ["1", "2", "3"])
        assert again[:2] == first
        assert [receipt.seq for receipt in again] == [1, 2, 3]
        assert await self.heard(serving, session.cipher, 3) == "c"
        assert len(serving.untaken("update")) == 2
        assert [message.value for message in (await phone.messages(session)).messages] == ["a", "b", "c"]

    async def test_everybody_at_once(self) -> None:
        """Parallel senders over both ways get distinct numbers without a gap, announced in order."""
        phone, terminal, session = await self.work()
        serving = await self.connect(terminal, Scope.session(session.id))
        watching = await self.connect(phone)
        seqs: list[int] = []
        watching.on_update(lambda update: seqs.append(update["seq"]))
        sending = [phone.send_messages(session, [n, n]) for n in range(5)]
        sending += [terminal.send_messages(session, [n]) for n in range(5)]
        for n in range(10):
            serving.emit("message", {"sid": session.id, "message": session.cipher.seal(n)})
        receipts = await gatherResults([Deferred.fromCoroutine(each) for each in sending])
        heard = [await watching.next_update("new-message") for _ in range(25)]
        assert [update["body"]["message"]["seq"] for update in heard] == list(range(1, 26))
        assert seqs == list(range(seqs[0], seqs[0] + 25))
        assert len({receipt.seq for batch in receipts for receipt in batch}) == 15

    async def test_reading_back(self) -> None:
        """Pages go forwards from a number and backwards from the end."""
        phone, terminal, session = await self.work()
        await terminal.send_messages(session, list(range(1, 8)))
        newest = await phone.messages(session, before=2147483647, limit=3)
        assert ([message.value for message in newest.messages], newest.more) == ([7, 6, 5], True)
        rest = await phone.messages(session, after=4)
        assert ([message.seq for message in rest.messages], rest.more) == ([5, 6, 7], False)

    async def test_metadata(self) -> None:
        """A change of metadata reaches every device; one on a stale version is answered with the current."""
        phone, terminal, session = await self.work()
        watching = await self.connect(phone)
        serving = await self.connect(terminal, Scope.session(session.id))
        sealed = session.cipher.seal({"title": "new"})
        update = {"sid": session.id, "metadata": sealed, "expectedVersion": 0}
        answer = await serving.call("update-metadata", update)
        assert answer == {"result": "success", "version": 1, "metadata": sealed}
        body = (await watching.next_update("update-session"))["body"]
        assert body == {"t": "update-session", "id": session.id, "metadata": {"value": sealed, "version": 1}}
        stale = await serving.call("update-metadata", update | {"metadata": "stale"})
        assert stale == {"result": "version-mismatch", "version": 1, "metadata": sealed}
        unknown = await serving.call("update-metadata", update | {"sid": "nowhere"})
        assert unknown == {"result": "error"}

    async def test_racing_metadata(self) -> None:
        """Of two changes on the same version one wins, and the other is told what won."""
        phone, terminal, session = await self.work()
        sockets = [await self.connect(phone), await self.connect(terminal, Scope.session(session.id))]
        calls = [
            socket.call("update-state", {"sid": session.id, "agentState": f"{n}", "expectedVersion": 0})
            for n, socket in enumerate(sockets)
        ]
        answers = await gatherResults([Deferred.fromCoroutine(call) for call in calls])
        won = next(answer for answer in answers if answer["result"] == "success")
        lost = next(answer for answer in answers if answer["result"] == "version-mismatch")
        assert (lost["version"], lost["agentState"]) == (1, won["agentState"])

    async def test_end_of_a_session(self) -> None:
        """Archiving and deleting are seen by the phone, and what was deleted is gone."""
        phone, terminal, session = await self.work()
        watching = await self.connect(phone)
        await terminal.archive_session(session)
        signal = await watching.next_ephemeral("activity")
        assert (signal["id"], signal["active"], signal["thinking"]) == (session.id, False, False)
        await phone.delete_session(session)
        assert (await watching.next_update("delete-session"))["body"]["sid"] == session.id
        assert await phone.sessions() == []
        with self.assertRaises(Refused) as refused:
            await phone.messages(session)
        assert (refused.exception.status, refused.exception.body) == (404, {"error": "Session not found"})

    async def test_presence(self) -> None:
        """Heartbeats show on the phone, and so does the end."""
        phone, terminal, session = await self.work()
        watching = await self.connect(phone)
        serving = await self.connect(terminal, Scope.session(session.id))
        serving.emit("session-alive", {"sid": session.id, "time": now(), "thinking": True})
        signal = await watching.next_ephemeral("activity")
        assert (signal["id"], signal["active"], signal["thinking"]) == (session.id, True, True)
        serving.emit("session-end", {"sid": session.id, "time": now()})
        assert (await watching.next_ephemeral("activity"))["active"] is False
        assert [one.record.active for one in await phone.sessions()] == [False]

    async def test_strangers_see_nothing(self) -> None:
        """Another account neither reads, nor writes, nor hears of a session."""
        _, _, session = await self.work()
        stranger = await self.new_phone()
        listening = await self.connect(stranger, Scope.session(session.id))
        for attempt in (stranger.messages(session), stranger.send_messages(session, [1])):
            with self.assertRaises(Refused) as refused:
                await attempt
            assert refused.exception.status == 404
        listening.emit("message", {"sid": session.id, "message": "x"})
        answer = await listening.call(
            "update-state", {"sid": session.id, "agentState": "x", "expectedVersion": 0}
        )
        assert answer == {"result": "error"}
        assert await listening.call("ping") == {}
        assert listening.untaken("update") == []


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
