"""Every command that concerns more than one of several nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from twisted.internet.threads import deferToThread

from happy.base.errors import StartupError
from happy.client import Account, AccountKeys, ClientError, Scope, sign_in
from happy.client.pairing import TerminalPairing
from tests.operator.case import run
from tests.operator.pair import PairCase


class EverywhereTests(PairCase):
    """What is done at one node takes effect at the other, at once."""

    async def test_access(self) -> None:
        """Sockets at the other node are closed, tokens refused, and a machine that came there is known."""
        phone = await self.new_phone()
        other = self.at(self.there, phone)
        asking = TerminalPairing(other.server)
        await asking.poll()
        await phone.approve_terminal(asking.public_key)
        terminal = await asking.poll()
        assert terminal is not None
        machine = await terminal.register_machine(f"machine-{phone.id}", {})
        daemon = await self.connect(terminal, Scope.machine(machine.id))
        app = await self.connect(other)
        gone = daemon.closed()
        revoked = await self.document(self.here, "revoke", phone.id, "--device", machine.id)
        self.assertEqual(revoked["closed"], 1)
        await gone
        with pytest.raises(ClientError, match="401"):
            await terminal.sessions()
        gone = app.closed()
        ran = await self.ctl(self.here, "accounts", "disable", phone.id)
        self.assertEqual(ran.out, f"{phone.id} is disabled.\nSockets closed: 1.\n")
        await gone
        with pytest.raises(ClientError, match="403"):
            await other.sessions()
        await self.document(self.there, "accounts", "enable", phone.id)
        self.assertEqual((await phone.sessions(), await other.sessions()), ([], []))

    async def test_registration(self) -> None:
        """A door that is closed is closed everywhere, and who was refused is known everywhere."""
        phone = await self.new_phone()
        other = self.at(self.there, phone).server
        await self.document(self.here, "registration", "closed")
        with pytest.raises(ClientError, match="403"):
            await sign_in(other, AccountKeys.generate())
        (refused,) = (await self.document(self.here, "registration"))["refused"]
        self.assertEqual(refused["count"], 1)
        await self.document(self.here, "registration", "open", "--accounts", "1")
        await sign_in(other, AccountKeys.generate())
        with pytest.raises(ClientError, match="403"):
            await sign_in(phone.server, AccountKeys.generate())

    async def test_restore(self) -> None:
        """Nothing is restored into a database that nodes use, whatever is in it."""
        place, file = self.folder / "new", self.folder / "backup.tar"
        file.touch()
        named = ["--data-dir", str(place), "--database-url", self.dsn]
        ran = await deferToThread(run, [*named, "restore", str(file)])
        self.assertEqual((ran.status, ran.out, place.exists()), (1, "", False))
        said = r"happyctl: nothing was restored: a server uses the database \(.*\); stop it, and all .*\n"
        self.assertRegex(ran.err, said)

    async def test_drain(self) -> None:
        """One node is emptied and the other serves on, unless all are meant."""
        phone = await self.new_phone()
        other = self.at(self.there, phone)
        await self.connect(other)
        self.assertEqual(await self.document(self.here, "drain"), {"left": 0})
        await self.until(self.there, lambda node: node["state"] == "draining")
        with pytest.raises(ClientError):
            await phone.open_socket()
        await self.connect(other)
        left = {"left": 2, "nodes": {"here": 0, "there": 2}}
        self.assertEqual(await self.document(self.here, "drain", "--all", "--timeout", "0"), left)
        with pytest.raises(ClientError):
            await other.open_socket()
        ran = await self.ctl(self.there, "drain", "--all", "--timeout", "0")
        self.assertEqual(ran.out, "2 sockets are left (there: 2).\n")
        await self.document(self.there, "drain", "--all", "--undo")
        await self.connect(phone)
        await self.until(self.there, lambda node: node["state"] == "there")

    async def test_no_bus(self) -> None:
        """Who cannot be told is named, and finds out by itself."""
        phone = await self.new_phone()
        self.engine.leave()
        ran = await self.ctl(self.here, "revoke", phone.id)
        self.assertIn("Sockets closed: 0. No answer from the other nodes: there within a second.", ran.out)
        ran = await self.ctl(self.here, "drain", "--all")
        self.assertEqual(ran.status, 1)
        self.assertIn("No answer from the other nodes: do it there.", ran.out)

    async def test_files(self) -> None:
        """Files that are uploaded at another node and not found here are not forgotten in silence."""
        phone = await self.new_phone()
        file = self.here.folder / "export.tar"
        written = await self.document(self.here, "accounts", "export", phone.id, str(file), status=1)
        self.assertEqual(written["filesElsewhere"], ["there"])
        ran = await self.ctl(self.here, "accounts", "delete", phone.id, "--yes")
        self.assertIn("Its files at there", ran.out)
        checks = (await self.document(self.here, "doctor", status=1))["checks"]
        self.assertEqual([one["state"] for one in checks if one["name"] == "nodes"], ["fail"])
        self.assertEqual([one["state"] for one in checks if one["name"] == "other servers"], ["ok"])


class RotationTests(PairCase):
    """A new master secret comes to one node after the other."""

    fresh = True

    async def belonging(self, status: int) -> dict[str, str]:
        """What the doctor at the node with the old secret says of it."""
        checks = (await self.document(self.there, "doctor", status=status))["checks"]
        (found,) = (one for one in checks if one["name"] == "secret and data")
        return cast("dict[str, str]", found)

    async def rotated(self, grace: str) -> tuple[Account, Account]:
        """An account at the node that has the old secret, with a token of before, and with one of the new."""
        phone = await self.new_phone()
        await phone.call("POST", "/v1/connect/openai/register", {"token": "mine"})
        made = await self.document(self.here, "secret", "rotate", "--yes", "--grace", grace)
        self.assertEqual(made["nodes"], ["there"])
        self.assertIn("--again", (await self.ctl(self.there, "secret", "rotate", "--yes")).err)
        secret = (self.here.folder / "master-secret").read_text().strip()
        config = replace(self.here.running.server.config, master_secret=secret)
        await self.here.running.stop()
        self._name = "here"
        self.here = await self.start(self.make_running(config))
        self.running = self.here.running
        assert isinstance(phone.keys, AccountKeys)
        later = await sign_in(self.remote(), phone.keys)
        return self.at(self.there, phone), self.at(self.there, later)

    async def test_before_it_is_taken_over(self) -> None:
        """A node that has not got what was made is told; of two that were made the latest counts."""
        for again in ([], ["--again"]):
            (self.here.folder / "master-secret").write_text(f"{self.secret}\n")
            made = await self.document(self.here, "secret", "rotate", "--yes", *again)
            found = await self.belonging(status=1)
            self.assertEqual(
                found["detail"], f"a new secret ({made['fingerprint']}) was made, and is not set here"
            )

    async def test_with_grace(self) -> None:
        """A node with the old secret serves on; what it could not keep in safety it refuses."""
        before, later = await self.rotated("2h")
        self.assertEqual(await later.sessions(), await before.sessions())
        assert isinstance(before.keys, AccountKeys)
        latest = await sign_in(before.server, before.keys)
        self.assertEqual(await self.at(self.here, latest).sessions(), [])
        vendors = self.at(self.here, later)
        self.assertEqual((await vendors.call("GET", "/v1/connect/openai/token"))["token"], "mine")
        for method, path, body in [
            ("GET", "/v1/connect/openai/token", {}),
            ("GET", "/v1/connect/tokens", {}),
            ("POST", "/v1/connect/gemini/register", {"json": {"token": "lost"}}),
        ]:
            with pytest.raises(ClientError, match="503"):
                await later.call(method, path, **body)
        self.assertTrue((await self.document(self.there, "status"))["ready"])

    async def test_what_the_operator_is_told(self) -> None:
        """Either node says that secrets differ, and one that starts with the old says what to do."""
        await self.rotated("2h")
        await self.until_known()
        shown = await self.ctl(self.here, "status")
        self.assertIn("node                there there", shown.out)
        self.assertIn(", master secret ", shown.out)
        found = await self.belonging(status=1)
        self.assertEqual(found["fix"], "it was replaced: set the later one here too, then restart the server")
        self.assertIn("set the later one", (await self.ctl(self.there, "secret", "rotate", "--yes")).err)
        config = self.there.running.server.config
        await self.there.running.stop()
        self._name = "there"
        with pytest.raises(StartupError, match=r"replaced by a later one .* set that one here too"):
            await self.start(self.make_running(config))

    async def test_without_grace(self) -> None:
        """An old secret that is in other hands opens nothing, wherever it still is."""
        phone = await self.new_phone()
        socket = await self.connect(self.at(self.there, phone))
        gone = socket.closed()
        before, later = await self.rotated("0")
        await self.document(self.there, "registration")
        await gone
        self.assertEqual(await later.sessions(), [])
        with pytest.raises(ClientError, match="401"):
            await before.sessions()
        assert isinstance(before.keys, AccountKeys)
        with pytest.raises(ClientError, match="503"):
            await sign_in(before.server, before.keys)
        self.assertEqual((await self.document(self.there, "status"))["reasons"], ["secret"])
