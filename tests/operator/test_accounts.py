"""Accounts from the operator's side: seen, kept out, revoked, deleted."""

from __future__ import annotations

from typing import Any

from happy.client import Account, Refused, Scope, SocketRefused, TerminalPairing, sign_in
from happy.storage import access, removal
from happy.storage.blocking import opened
from tests.harness import psql
from tests.operator.case import OperatorCase, run


async def _interrupt(*_: object, **__: object) -> bool:
    raise KeyboardInterrupt


class AccountTests(OperatorCase):
    """Against a server that runs."""

    async def setUp(self) -> None:
        self.noted: list[str] = []
        await super().setUp()
        self.patch(self.running.server.events, "_refusals", self)

    def note(self, address: str, reason: str) -> None:
        """As the log of refusals."""
        self.noted.append(reason)

    async def paired(self, phone: Account) -> Account:
        """A terminal that was let into the phone's account, without the account's key."""
        pairing = TerminalPairing(self.remote())
        await pairing.poll()
        await phone.approve_terminal(pairing.public_key)
        return await pairing.wait(interval=0)

    async def refused(self, account: Account) -> tuple[int, Any]:
        """How a request of the account is refused."""
        answer = await account.request("GET", "/v1/account/profile")
        return answer.status, answer.json()

    async def test_list(self) -> None:
        """Accounts are listed with what they have; the beginning of an id names one."""
        phone = await self.new_phone()
        session = await phone.create_session("a", {})
        await phone.send_messages(session, [{"text": "hello"}] * 3)
        (found,) = (one for one in (await self.said("accounts")) if one["id"] == phone.id)
        self.assertEqual((found["sessions"], found["messages"], found["devices"]), (1, 3, 0))
        self.assertGreater(found["bytes"], 100)
        self.assertIs(found["disabled"], False)
        self.assertEqual(await self.said("accounts", "show", phone.id[:-1]), found)
        await phone.upload(session, b"x" * 1000)
        with_file = await self.said("accounts", "show", phone.id)
        self.assertGreaterEqual(with_file["bytes"], found["bytes"] + 1000)
        self.assertIn(with_file, await self.said("accounts"))
        self.assertIn(phone.id, (await self.happyctl("accounts")).out)

    async def test_wrong_ids(self) -> None:
        """What names no account, or several, is said in a line."""
        await self.new_phone()
        await self.new_phone()
        for command in (["accounts", "show"], ["accounts", "disable"], ["devices"], ["revoke"]):
            for wrong, says in (
                ("nobody", "no account"),
                ("c", "too short"),
                ("\0", "no account"),
                ("", "no"),
            ):
                ran = await self.happyctl(*command, wrong)
                self.assertEqual((ran.status, ran.out, ran.err.count("\n")), (1, "", 1), ran)
                self.assertIn(says, ran.err)

    async def test_disable(self) -> None:
        """A disabled account has its sockets closed, its tokens and logins refused, until it is let in."""
        phone = await self.new_phone()
        socket = await self.connect(phone)
        ended = socket.closed()
        found = await self.said("accounts", "disable", phone.id)
        self.assertEqual((found["disabled"], found["closed"]), (True, 1))
        await ended
        refusal = (403, {"error": "Account is disabled"})
        self.assertEqual(await self.refused(phone), refusal)
        self.assertEqual(self.noted, ["account is disabled"])
        with self.assertRaises(Refused) as login:
            await sign_in(self.remote(), phone.keys)
        self.assertEqual(login.exception.status, 403)
        with self.assertRaises(SocketRefused) as connecting:
            await self.connect(phone)
        self.assertIn("Account is disabled", str(connecting.exception))
        self.assertEqual(self.noted, ["account is disabled"] * 3)
        shown = await self.said("accounts", "show", phone.id)
        self.assertIs(shown["disabled"], True)
        await self.said("accounts", "enable", phone.id)
        self.assertEqual((await self.refused(phone))[0], 200)

    async def test_revoke(self) -> None:
        """Tokens issued so far are refused, and those issued from then on are not."""
        phone, other = await self.new_phone(), await self.new_phone()
        ended = (await self.connect(phone)).closed()
        here = await self.connect(other)
        found = await self.said("revoke", phone.id)
        self.assertEqual(found["closed"], 1)
        await ended
        self.assertEqual(await self.refused(phone), (401, {"error": "Invalid token"}))
        self.assertEqual(self.noted, ["token is revoked"])
        again = await sign_in(self.remote(), phone.keys)
        self.assertEqual((await self.refused(again))[0], 200)
        self.assertTrue(here.connected)

    async def test_revoke_a_device(self) -> None:
        """One terminal is thrown out by its pairing, or by the machine that it is, and no other."""
        phone = await self.new_phone()
        laptop, desktop = await self.paired(phone), await self.paired(phone)
        await laptop.register_machine("laptop", {})
        await desktop.register_machine("desktop", {})
        ended = (await self.connect(laptop, Scope.machine("laptop"))).closed()
        here = await self.connect(desktop, Scope.machine("desktop"))
        found = await self.said("devices", phone.id)
        self.assertEqual({one["machine"] for one in found["pairings"]}, {"laptop", "desktop"})
        self.assertEqual({one["id"] for one in found["machines"]}, {"laptop", "desktop"})
        revoked = await self.said("revoke", phone.id, "--device", "laptop")
        self.assertEqual(revoked["closed"], 1)
        await ended
        self.assertEqual((await self.refused(laptop))[0], 401)
        self.assertEqual([(await self.refused(one))[0] for one in (phone, desktop)], [200, 200])
        self.assertTrue(here.connected)
        ran = await self.happyctl("revoke", phone.id, "--device", "tablet")
        self.assertEqual(ran.status, 1)
        self.assertIn(f"happyctl revoke {phone.id} refuses all", ran.err)

    async def test_names_of_clients(self) -> None:
        """What a client called its machine does nothing to the operator's terminal."""
        phone = await self.new_phone()
        await phone.register_machine("\x1b]0;mine\x07", {})
        shown = (await self.happyctl("devices", phone.id)).out
        self.assertIn("\ufffd]0;mine\ufffd", shown)
        self.assertNotIn("\x1b", shown)

    async def test_written_elsewhere(self) -> None:
        """What another node's happyctl wrote into the database takes effect here by itself."""
        phone = await self.new_phone()
        ended = (await self.connect(phone)).closed()
        with opened(self.dsn, "another node") as database:
            database.transact(lambda tx: access.disable(tx, phone.id))
        await ended
        self.assertEqual((await self.refused(phone))[0], 403)

    async def test_delete(self) -> None:
        """Everything of an account goes, and its tokens are refused; others keep theirs."""
        phone, other = await self.new_phone(), await self.new_phone()
        for account in (phone, other):
            session = await account.create_session("a", {})
            await account.send_messages(session, [{"text": "hello"}] * 3)
            await account.upload(session, b"x" * 1000)
            await account.register_machine(f"m-{account.id}", {})
            await self.paired(account)
        before = await self.said("accounts", "show", other.id)
        ran = await self.happyctl("accounts", "delete", phone.id)
        self.assertEqual((ran.status, ran.out), (2, ""))
        self.assertIn("1 session, 3 messages", ran.err)
        would = await self.said("accounts", "delete", phone.id, "--dry-run")
        self.assertEqual(would["wouldDelete"]["messages"], 3)
        gone = await self.said("accounts", "delete", phone.id, "--yes")
        self.assertEqual((gone["deleted"]["sessions"], gone["deleted"]["messages"]), (1, 3))
        self.assertEqual(gone["deleted"]["files"], 1)
        self.assertGreaterEqual(gone["deleted"]["bytes"], 1000)
        self.assertEqual((await self.refused(phone))[0], 401)
        after = await self.said("accounts", "show", other.id)
        self.assertEqual({**after, "bytes": 0}, {**before, "bytes": 0})  # which are an estimate
        self.assertEqual((await self.happyctl("accounts", "show", phone.id)).status, 1)
        self.assertEqual(self.left_of(phone.id), [])

    async def test_an_interrupted_delete(self) -> None:
        """Nobody sees half of an account: it is disabled until all of it is gone, when it is done again."""
        phone = await self.new_phone()
        session = await phone.create_session("a", {})
        await phone.send_messages(session, [{"text": "hello"}] * 3)
        interrupted = self.patch(removal, "remove_account", _interrupt)
        self.assertEqual((await self.happyctl("accounts", "delete", phone.id, "--yes")).status, 1)
        interrupted.restore()
        self.assertEqual((await self.refused(phone))[0], 403)
        self.assertIs((await self.said("accounts", "show", phone.id))["disabled"], True)
        await self.said("accounts", "delete", phone.id, "--yes")
        self.assertEqual((await self.refused(phone))[0], 401)
        self.assertEqual(self.left_of(phone.id), [])

    def left_of(self, account: str) -> list[str]:
        """The tables in which something names an account, but for the list of refused tokens."""
        columns = psql(
            self.dsn,
            """SELECT "table_name", "column_name" FROM information_schema.columns
            WHERE "table_schema" = 'public' AND "data_type" = 'text'
            AND "column_name" IN ('accountId', 'userId', 'fromUserId', 'toUserId', 'responseAccountId')""",
        )
        found = []
        for table, column in columns:
            if psql(self.dsn, f'SELECT 1 FROM "{table}" WHERE "{column}" = %s', [account]):
                found.append(table)
        return sorted(set(found) - {"happy_accounts"})

    async def test_without_a_server(self) -> None:
        """Without a server here the database is told, and the server knows when it starts."""
        phone = await self.new_phone()
        ran = run(["--data-dir", "/nowhere", "--database-url", self.dsn, "accounts", "disable", phone.id])
        self.assertEqual(ran.status, 0)
        self.assertIn("No server runs here", ran.out)
