"""What people do with Happy, played by the Python client against a whole server."""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults

from happy.client import (
    Account,
    AccountKeys,
    DeviceLinking,
    NotPending,
    Refused,
    Scope,
    SocketRefused,
    TerminalKeys,
    TerminalPairing,
    sign_in,
)
from tests.live.story import StoryCase, now


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
