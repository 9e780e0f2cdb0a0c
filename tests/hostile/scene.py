"""Where an attack takes place: a server, an address to come from, and how far to go."""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec
from nacl.signing import SigningKey

from tests.hostile.clients import GONE, POLLING, Answer, Lane, Refused, Socket, request

T = TypeVar("T")
CANARY = "canary-3e8f51"
"""In what attackers send, so that it can be looked for where it should not be."""


FILES = 4096
"""Files that the server may have open: so few that an attacker can try to have them all."""
LOGINS = 3000
"""Logins and pairings a minute from one address, for the same reason."""


class Misbehaved(Exception):
    """The server did to the attacker what it may not; the text says what."""


class Scene(msgspec.Struct, frozen=True):
    """One attack's surroundings. ``at_length`` tells the long form from the short one.

    ``victim`` is the innocent's account; ``folder`` is the server's, if it is on this machine.
    """

    port: int
    source: str
    at_length: bool
    victim: str
    folder: str | None = None

    def pick(self, short: T, long: T) -> T:
        """What the form asks for."""
        return long if self.at_length else short

    def until(self, short: float, long: float) -> Iterator[int]:
        """Numbers, for so many seconds."""
        end, number = time.monotonic() + self.pick(short, long), 0
        while time.monotonic() < end:
            yield number
            number += 1

    def dial(
        self, *, source: str | None = None, receive_buffer: int | None = None, timeout: float = 20
    ) -> Lane:
        """A connection to the server."""
        return Lane(self._connect(source or self.source, receive_buffer, timeout))

    def _connect(self, source: str, receive_buffer: int | None, timeout: float) -> socket.socket:
        plain = socket.socket()
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.bind((source, 0))
        plain.connect(("127.0.0.1", self.port))
        return plain

    def ask(
        self, method: str, path: str, value: Any = None, token: str | None = None, timeout: float = 60
    ) -> Answer:
        """One request on a connection of its own; ``value`` is the body, JSON if it is bytes."""
        body = value if isinstance(value, bytes) else b"" if value is None else json.dumps(value).encode()
        lane = self.dial(timeout=timeout)
        try:
            return lane.ask(method, path, body, token)
        finally:
            lane.close()

    def login(self) -> str:
        """A new account's token. Raises Refused."""
        return str(self._granted("/v1/auth", proof())["token"])

    def session(self, token: str, tag: str = CANARY, metadata: str = CANARY) -> str:
        """A session's id. Raises Refused."""
        answer = self._granted("/v1/sessions", {"tag": tag, "metadata": metadata}, token)
        return str(answer["session"]["id"])

    def _granted(self, path: str, value: Any, token: str | None = None) -> Any:
        answer = self.ask("POST", path, value, token)
        if answer.status != 200:
            raise Refused(f"{path}: {answer.status}")
        return answer.json()

    def account_of(self, token: str) -> str:
        """The id of an account."""
        return str(self.ask("GET", "/v1/account/profile", token=token).json()["id"])

    def socket(
        self, token: str | None = None, *, receive_buffer: int | None = None, timeout: float = 20, **auth: Any
    ) -> Socket:
        """An open socket, which has joined if there is a token. Raises Refused, OSError or EOFError."""
        link = Socket(self._connect(self.source, receive_buffer, timeout))
        link.open()
        if token is not None:
            link.join(token, auth)
        return link

    def polling(self) -> str:
        """The id of a new polling session. Raises Refused."""
        answer = self.ask("GET", POLLING)
        if answer.status != 200:
            raise Refused(f"polling: {answer.status}")
        return str(json.loads(answer.body[1:])["sid"])

    def post(self, sid: str, packets: bytes) -> Answer:
        """Send packets to a polling session."""
        return self.ask("POST", f"{POLLING}&sid={sid}", packets)

    def pour(self, requests: list[bytes], *, source: str | None = None, timeout: float = 60) -> list[int]:
        """Send requests on one connection without waiting, and read the answers; their statuses."""
        lane = self.dial(source=source, timeout=timeout)
        statuses: list[int] = []
        writer = threading.Thread(target=_quietly, args=(lane.write, b"".join(requests)), daemon=True)
        writer.start()
        try:
            for _ in requests:
                statuses.append(lane.answer().status)
        except GONE:
            pass
        lane.close()
        return statuses

    def together(self, count: int, function: Callable[[int], Any]) -> int:
        """Call a function with 0, 1, 2... at once; how many calls the server did not cut off.

        Raises Misbehaved if one of them did.
        """
        done: list[Any] = []
        wrong: list[Misbehaved] = []

        def run(number: int) -> None:
            try:
                done.append(function(number))
            except Misbehaved as error:
                wrong.append(error)
            except GONE:
                return

        threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for error in wrong:
            raise error
        return len(done)

    def crowd(self, count: int, make: Callable[[int], T]) -> list[T]:
        """What ``make`` returned for 0, 1, 2..., up to the first that the server turned away."""
        made: list[T] = []
        try:
            for number in range(count):
                made.append(make(number))
        except GONE:
            pass
        return made

    def rest(self, short: float, long: float) -> None:
        """Let it take effect."""
        time.sleep(self.pick(short, long))


def text(size: int) -> str:
    """A text of that length."""
    return (CANARY * (size // len(CANARY) + 1))[:size]


def proof() -> dict[str, str]:
    """What a new account logs in with."""
    key, challenge = SigningKey(os.urandom(32)), os.urandom(32)
    return {
        "publicKey": _base64(bytes(key.verify_key)),
        "challenge": _base64(challenge),
        "signature": _base64(key.sign(challenge).signature),
    }


def swallow(lane: Lane) -> None:
    """Read and forget whatever comes, in the background."""
    threading.Thread(target=_quietly, args=(lane.drain,), daemon=True).start()


def _quietly(function: Callable[..., Any], *arguments: Any) -> None:
    try:
        function(*arguments)
    except GONE:
        return


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def composed(method: str, path: str, value: Any, token: str | None = None) -> bytes:
    """A whole request with a JSON value."""
    return request(method, path, json.dumps(value).encode(), token)
