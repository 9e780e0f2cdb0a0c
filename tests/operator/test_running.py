"""Commands that speak to a running server through its control socket."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
import threading
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from happy.base.errors import DatabaseDown
from happy.client import ClientError
from happy.operator.control import Control
from happy.operator.trouble import CommandFailed, NotReachable
from happy.storage import registration
from tests.operator.case import OperatorCase


class StatusTests(OperatorCase):
    """What a running server says of itself."""

    async def test_status(self) -> None:
        """The screen and the document tell of accounts and sockets."""
        await self.connect(await self.new_phone())
        found = await self.said("status")
        self.assertEqual((found["ready"], found["reasons"]), (True, []))
        self.assertEqual(found["sockets"], {"user": 1, "session": 0, "machine": 0})
        self.assertEqual(found["listening"], ["tcp:0:interface=127.0.0.1"])
        shown = await self.happyctl("status")
        self.assertIn("\nready               yes\n", shown.out)
        self.assertIn("1 (1 user, 0 session, 0 machine)", shown.out)

    async def test_hiccup(self) -> None:
        """A database that is away for the last question of a start does not end a server that serves."""
        await self.running.stop()

        async def away(*_: object) -> None:
            raise DatabaseDown("it went away")

        self.patch(registration, "current", away)
        self.running = self.make_running()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.running.stop()))
        await self.running.start()
        self.assertEqual((await self.said("status"))["ready"], True)

    async def test_nobody_to_ask(self) -> None:
        """A folder whose server does not run is said to be that, with exit status 3."""
        with tempfile.TemporaryDirectory() as folder:
            ran = await self.happyctl("status", "--data-dir", folder)
        self.assertEqual((ran.status, ran.out), (3, ""))
        self.assertEqual(ran.err, f"happyctl: no server runs with the data folder {folder}\n")

    async def test_private(self) -> None:
        """The socket is its owner's alone, and gone when the server has stopped."""
        path = self.folder / "control.sock"
        found = path.stat()
        self.assertEqual((stat.S_IMODE(found.st_mode), found.st_uid), (0o600, os.geteuid()))
        await self.running.stop()
        self.assertFalse(path.exists())

    async def test_removed(self) -> None:
        """A socket that somebody removed keeps nothing from ending in order."""
        (self.folder / "control.sock").unlink()
        await self.running.stop()
        self.assertEqual(self.complaints, [])

    async def test_nonsense(self) -> None:
        """What is no instruction is refused with a reason."""
        control = Control(self.folder)
        for path, body, says in [
            ("/nothing", {}, "There is no POST /nothing"),
            ("/drain", {"draining": "yes"}, "draining is true or false"),
            ("/drain", {"draining": "x" * 70_000}, "at most 65536 bytes"),
        ]:
            with pytest.raises(CommandFailed, match=says):
                await deferToThread(control.post, path, body)

    async def test_drain(self) -> None:
        """A drained server is not ready, takes no sockets, keeps those it has, and can go on."""
        phone = await self.new_phone()
        here = await self.connect(phone)
        self.assertEqual(await self.said("drain", "--timeout", "0"), {"left": 1})
        self.assertEqual((await self.said("status"))["reasons"], ["draining"])
        with pytest.raises(ClientError):
            await self.connect(phone)
        self.assertTrue(here.connected)
        await here.close()
        self.assertEqual(await self.said("drain"), {"left": 0})
        self.assertEqual(await self.said("drain", "--undo"), {"left": 0})
        self.assertTrue((await self.connect(phone)).connected)
        self.assertEqual((await self.said("status"))["ready"], True)


def test_dies_meanwhile(tmp_path: Path) -> None:
    """A server that ends before it has answered is told as that."""
    with socket.socket(socket.AF_UNIX) as port:
        port.bind(str(tmp_path / "control.sock"))
        port.listen()
        threading.Thread(target=lambda: port.accept()[0].close()).start()
        with pytest.raises(NotReachable, match="the server ended before it answered"):
            Control(tmp_path).get("/status")
        with pytest.raises(NotReachable, match="does not answer within"):
            Control(tmp_path).get("/status", seconds=0.01)


def test_long_folder(tmp_path: Path) -> None:
    """The socket is reached in a folder whose path is too long for a socket's address."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as port:
        here = os.open(folder, os.O_RDONLY)
        port.bind(f"/proc/self/fd/{here}/control.sock")
        os.close(here)
        port.listen()
        threading.Thread(target=lambda: port.accept()[0].close()).start()
        with pytest.raises(NotReachable, match="the server ended before it answered"):
            Control(folder).get("/status")
