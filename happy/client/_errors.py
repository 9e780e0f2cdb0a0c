"""What can go wrong for a client. Waiting too long is ``twisted.internet.defer.TimeoutError``."""

from __future__ import annotations

from typing import Any


class ClientError(Exception):
    """Base of the failures below."""


class Undecryptable(ClientError):
    """A ciphertext that the key at hand does not open."""


class Refused(ClientError):
    """The server answered a request with a status other than 2xx.

    ``body`` is the decoded JSON of the answer, or its text.
    """

    def __init__(self, method: str, path: str, status: int, body: Any) -> None:
        super().__init__(f"{method} {path} was answered {status}: {body!r}")
        self.status = status
        self.body = body


class NotPending(ClientError):
    """A pairing request cannot be approved now; ``status`` is what the server says about it."""

    def __init__(self, status: str) -> None:
        super().__init__(f"the pairing request is {status}")
        self.status = status


class SocketRefused(ClientError):
    """The server refused to let a socket in (CONNECT_ERROR), for the reason in ``message``."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Disconnected(ClientError):
    """The socket is closed, or was before what was awaited came."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RpcFailed(ClientError):
    """A remote call came back with an ``error`` instead of a result."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error
