"""Accounts, sessions and machines for a run, made through the server's own interface."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
from nacl.signing import SigningKey

from happy.bench.http import Answer, Http
from happy.bench.loop import gather

AT_ONCE = 32
_METADATA = base64.b64encode(bytes(120)).decode()


class Unusable(Exception):
    """The server refused what a run needs; the text is for people."""


class Scope(NamedTuple):
    """What a socket is for, as it says when it connects (realtime.md B.1)."""

    client_type: str
    ids: Mapping[str, str] = MappingProxyType({})

    @classmethod
    def app(cls) -> Scope:
        """An app: hears everything of the account."""
        return cls("user-scoped")

    @classmethod
    def session(cls, session: str) -> Scope:
        """A terminal with one session."""
        return cls("session-scoped", {"sessionId": session})

    @classmethod
    def machine(cls, machine: str) -> Scope:
        """A machine's daemon."""
        return cls("machine-scoped", {"machineId": machine})


class Account:
    """A login. ``number`` tells accounts of a run apart."""

    __slots__ = ("number", "token")

    def __init__(self, number: int, token: str) -> None:
        self.number = number
        self.token = token

    def login(self, scope: Scope) -> dict[str, str]:
        """What a socket of the account says when it connects."""
        about = {"token": self.token, "clientType": scope.client_type, "happyClient": "bench/1"}
        return {**about, **scope.ids}


class Accounts:
    """The accounts of a run: the same number is the same account in every worker."""

    def __init__(self, http: Http, run: str) -> None:
        self._http = http
        self._run = run

    async def log_in(self, number: int) -> Account:
        """Make the account, or log in to it. Raises Unusable."""
        key = SigningKey(hashlib.sha256(f"{self._run} {number}".encode()).digest())
        challenge = hashlib.sha256(f"challenge {number}".encode()).digest()
        body = {
            "publicKey": _base64(bytes(key.verify_key)),
            "challenge": _base64(challenge),
            "signature": _base64(key.sign(challenge).signature),
        }
        answer = await self._http.ask("POST", "/v1/auth", value=body)
        return Account(number, str(_value(answer, "log in")["token"]))

    async def several(self, numbers: Iterable[int]) -> list[Account]:
        """Log in to several."""
        return await gather((self.log_in(number) for number in numbers), AT_ONCE)

    async def session(self, account: Account, tag: str) -> str:
        """Make a session, or find it; its id. Raises Unusable."""
        body = {"tag": tag, "metadata": _METADATA, "dataEncryptionKey": None}
        answer = await self._http.ask("POST", "/v1/sessions", account.token, body)
        return str(_value(answer, "make a session")["session"]["id"])

    async def machine(self, account: Account, name: str) -> str:
        """Make a machine, or find it; its id. Raises Unusable."""
        body = {"id": name, "metadata": _METADATA, "daemonState": _METADATA}
        answer = await self._http.ask("POST", "/v1/machines", account.token, body)
        return str(_value(answer, "make a machine")["machine"]["id"])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _value(answer: Answer, purpose: str) -> Any:
    """The JSON value of a successful answer."""
    if answer.status == 429:
        raise Unusable(f"cannot {purpose}: the server's request limit is reached; raise it for the run")
    if answer.status != 200:
        raise Unusable(f"cannot {purpose}: the server answers {answer.status} {_excerpt(answer.body)}")
    try:
        return answer.json()
    except msgspec.DecodeError:
        raise Unusable(f"cannot {purpose}: the answer is no JSON; is this a Happy server?") from None


def _excerpt(body: bytes) -> str:
    return " ".join(body[:120].decode(errors="replace").split())
