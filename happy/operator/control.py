"""The control socket from outside: HTTP and JSON on a unix socket in the server's folder."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from happy.base.unix_sockets import reachable
from happy.operator.trouble import CommandFailed, NotReachable, no_access

SECONDS = 30.0
"""How long the server may take for an answer, unless the command knows better."""


class Control:
    """The running server of a data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "control.sock"

    def get(self, path: str, seconds: float = SECONDS) -> Any:
        """What the server answers to a question. Raises as :meth:`post` does."""
        return self._ask("GET", path, None, seconds)

    def post(self, path: str, body: Mapping[str, Any] | None = None, seconds: float = SECONDS) -> Any:
        """What the server answers to an instruction.

        Raises NotReachable when no server runs there, or it ended meanwhile; CommandFailed with its reason.
        """
        return self._ask("POST", path, body or {}, seconds)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, seconds: float) -> Any:
        connection = _Connection(self.path, seconds)
        content = None if body is None else msgspec.json.encode(body)
        try:
            connection.request(method, path, content, {"content-type": "application/json"})
            answer = connection.getresponse()
            found = msgspec.json.decode(answer.read() or b"null")
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotReachable(f"no server runs with the data folder {self.path.parent}") from None
        except PermissionError as error:
            raise no_access(error, self.path) from None
        except TimeoutError:
            raise NotReachable(f"the server does not answer within {seconds:g} s") from None
        except (OSError, http.client.HTTPException, msgspec.DecodeError):
            raise NotReachable("the server ended before it answered") from None
        finally:
            connection.close()
        if answer.status != 200:
            raise CommandFailed(_reason(found, answer.status))
        return found


class _Connection(http.client.HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """Connect. Raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with reachable(self._path) as name:
            self.sock.connect(name)


def _reason(found: Any, status: int) -> str:
    if isinstance(found, dict) and isinstance(found.get("error"), str):
        return str(found["error"])
    return f"the server answered with status {status}"
