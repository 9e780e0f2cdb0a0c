"""The way of one message through the package by function: ``python -m pytest -s tests/live/walk.py``.

From the turn of the reactor in which it comes to the one in which its sender's other device has been told.
Each function is named once, in the order of the first calls, with how often it was called and by whom.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from websocket import WebSocket, create_connection

import happy
from tests.live.case import LiveCase

PACKAGE = str(Path(happy.__file__).parent) + "/"
CLIENT = PACKAGE + "client/"
WARMING = 5
"""Messages before the one that is looked at: the first of each kind find out what later ones know."""
AFTERMATH = 0.1
"""Seconds for what is done once everybody was told."""


class Steps:
    """The functions that were called: by file and name, how often and by whom first."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], tuple[int, str]] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Hear of a call; see :func:`sys.setprofile`."""
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(PACKAGE) and not file.startswith(CLIENT):
            key = (file.removeprefix(PACKAGE), frame.f_code.co_qualname)
            count, caller = self.seen.get(key, (0, frame.f_back.f_code.co_qualname if frame.f_back else ""))
            self.seen[key] = (count + 1, caller)

    def lines(self) -> list[str]:
        """What there is to say, the sums last."""
        told = [f"{count:3} {file}:{name} <- {by}" for (file, name), (count, by) in self.seen.items()]
        calls = sum(count for count, _ in self.seen.values())
        files = len({file for file, _ in self.seen})
        return [*told, f"{len(self.seen)} functions in {files} files, {calls} calls"]


class Walk(LiveCase):
    """One account with two devices, both on sockets of threads of their own."""

    async def test_message(self) -> None:
        """What is called for a message over a socket."""
        account = await self.new_phone()
        session = await account.create_session("walk", {})
        url = self.url.replace("http", "ws") + "/v1/updates/?EIO=4&transport=websocket"
        sender, listener = [await deferToThread(joined, url, account.token) for _ in range(2)]

        def send(text: str) -> None:
            sender.send("42" + json.dumps(["message", {"sid": session.id, "message": text}]))
            assert '"new-message"' in str(listener.recv())

        for number in range(WARMING):
            await deferToThread(send, str(number))
        steps = Steps()
        told = deferToThread(send, "the one")
        sys.setprofile(steps)
        await told
        await deferLater(reactor, AFTERMATH)  # type: ignore[arg-type]
        sys.setprofile(None)
        sys.stdout.write("\n".join(["", *steps.lines(), ""]))
        for socket in (sender, listener):
            await deferToThread(socket.close)


def joined(url: str, token: str) -> WebSocket:
    """A client that got in."""
    client = create_connection(url)
    client.recv()
    client.send("40" + json.dumps({"token": token}))
    assert str(client.recv()).startswith('40{"sid"')
    return client
