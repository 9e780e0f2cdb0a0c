"""Pairing, from the side that asks: a new terminal, or another device (tokens-and-crypto.md 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nacl.public import PrivateKey
from nacl.utils import random as random_bytes
from twisted.internet.defer import TimeoutError
from twisted.internet.task import deferLater

from happy.base.codecs import decode_base64, encode_base64, encode_base64url
from happy.client._errors import Undecryptable
from happy.client.account import Account
from happy.client.crypto import KEY_SIZE, AccountKeys, Keys, TerminalKeys, open_box
from happy.client.http import RemoteServer


class _Pairing:
    """A request to be let in, named by a fresh key; whoever knows the link may approve it."""

    _path: str
    _link: str

    def __init__(self, server: RemoteServer, secret: bytes | None = None) -> None:
        self._server = server
        self._key = PrivateKey(secret or random_bytes(KEY_SIZE))

    @property
    def public_key(self) -> bytes:
        """What the approving device needs to know."""
        return bytes(self._key.public_key)

    @property
    def link(self) -> str:
        """The public key for a QR code."""
        return self._link + encode_base64url(self.public_key)

    async def poll(self) -> Account | None:
        """Ask once: the account if the request was approved, None while it is not.

        Raises Refused, and Undecryptable for an approval that makes no sense.
        """
        answer = await self._server.call("POST", self._path, self._body())
        if answer["state"] != "authorized":
            return None
        return Account(self._server, answer["token"], self._keys(self._open(answer["response"])))

    async def wait(self, timeout: float = 120.0, interval: float = 1.0) -> Account:
        """Ask every ``interval`` seconds until the request is approved; what :meth:`poll` raises ends it.

        Raises ``twisted.internet.defer.TimeoutError`` after ``timeout`` seconds.
        """
        clock = self._server.reactor
        deadline = clock.seconds() + timeout
        while (account := await self.poll()) is None:
            if clock.seconds() + interval > deadline:
                raise TimeoutError(timeout, "Deferred")
            await deferLater(clock, interval)
        return account

    def _body(self) -> Mapping[str, Any]:
        return {"publicKey": encode_base64(self.public_key)}

    def _open(self, response: str) -> bytes:
        try:
            return open_box(decode_base64(response), self._key)
        except ValueError:
            raise Undecryptable("the response is not base64") from None

    def _keys(self, plaintext: bytes) -> Keys:
        """What the approving device handed over. Raises Undecryptable."""
        if len(plaintext) != KEY_SIZE:
            raise Undecryptable("the response is no account secret")
        return AccountKeys(plaintext)


class TerminalPairing(_Pairing):
    """A terminal asks to be let in.

    With ``v2`` it understands the answer that keeps the account secret from it. A ``secret`` (32 bytes)
    makes the key, instead of a random one.
    """

    _path = "/v1/auth/request"
    _link = "happy://terminal?"

    def __init__(self, server: RemoteServer, *, v2: bool = True, secret: bytes | None = None) -> None:
        super().__init__(server, secret)
        self._v2 = v2

    def _body(self) -> Mapping[str, Any]:
        return {**super()._body(), "supportsV2": self._v2}

    def _keys(self, plaintext: bytes) -> Keys:
        if len(plaintext) == KEY_SIZE + 1 and plaintext[:1] == b"\x00":
            return TerminalKeys(plaintext[1:])
        return super()._keys(plaintext)


class DeviceLinking(_Pairing):
    """Another app or control client asks for the account secret."""

    _path = "/v1/auth/account/request"
    _link = "happy:///account?"
