"""The control socket: what an operator asks of a running server, as HTTP and JSON on a unix socket.

``control.sock`` in the data folder, for its owner and root alone: who may connect may do everything. Each
path is a function in :mod:`happy.service.instructions`; docs/operator.md describes them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Request

from happy.base.errors import StartupError
from happy.base.redaction import describe_fault
from happy.base.unix_sockets import reachable
from happy.service.own_sockets import OwnSocket
from happy.service.watchers_site import WatchersSite, answer_later

NAME: Final = "control.sock"
LARGEST: Final = 64 * 1024
"""Bytes of an instruction."""

Working = Coroutine[Deferred[Any], Any, Any]
Instruction = Callable[[Mapping[str, Any]], Working]
"""Does what the members of a JSON object ask for; answers what becomes JSON. Raises Impracticable."""

_log = Logger()


class Impracticable(Exception):
    """What was asked for cannot be done; the message is one line for the operator."""


def flag(members: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """A member that is true or false. Raises Impracticable."""
    found = members.get(name, default)
    if not isinstance(found, bool):
        raise Impracticable(f"{name} is true or false")
    return found


class ControlResource(Resource):
    """Everything on the control socket; ``instructions`` are by method and path."""

    isLeaf = True

    def __init__(self, instructions: Mapping[tuple[str, str], Instruction]) -> None:
        super().__init__()
        self._instructions = instructions

    def render(self, request: Request) -> bytes | int:
        """Answer whatever is asked."""
        method, path = request.method.decode("latin-1"), request.path.decode("latin-1")
        instruction = self._instructions.get((method, path))
        if instruction is None:
            return _answer(request, 404, {"error": f"There is no {method} {path}"})
        try:
            members = _members(request)
        except ValueError as error:
            return _answer(request, 400, {"error": str(error)})
        return answer_later(request, _carried_out(request, instruction(members)))


def _members(request: Request) -> Mapping[str, Any]:
    """The members of the body. Raises ValueError with a line."""
    assert request.content is not None
    body = request.content.read(LARGEST + 1)
    if len(body) > LARGEST:
        raise ValueError(f"An instruction has at most {LARGEST} bytes")
    try:
        found = msgspec.json.decode(body or b"{}", type=dict[str, Any])
    except msgspec.DecodeError:
        raise ValueError("The body is no JSON object") from None
    return found


def _answer(request: Request, status: int, document: Any) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    return msgspec.json.encode(document) + b"\n"


async def _carried_out(request: Request, working: Working) -> bytes:
    """What comes of an instruction."""
    try:
        return _answer(request, 200, await working)
    except Impracticable as error:
        return _answer(request, 409, {"error": str(error)})
    except Exception as error:
        _log.error("An instruction failed: {fault}", fault=describe_fault(error))
        return _answer(request, 500, {"error": f"it failed: {type(error).__name__}; the log says more"})


class ControlSocket:
    """Listens in the data folder."""

    def __init__(
        self, folder: Path, instructions: Mapping[tuple[str, str], Instruction], reactor: Any
    ) -> None:
        self._path = folder.absolute() / NAME
        site = WatchersSite(ControlResource(instructions), reactor=reactor)
        self._socket = OwnSocket(self._path, site, reactor)

    def start(self) -> None:
        """Listen. Where that is not possible the server goes on without, and says so."""
        try:
            if self._path.exists() and _answers(self._path):
                _log.warn("Another server is controlled by {path}; this one is not", path=str(self._path))
            else:
                self._socket.start()
        except (OSError, StartupError) as error:
            _log.error("Nobody can control this server: {reason}", reason=str(error))

    async def stop(self) -> None:
        """Listen no more; what is under way ends with the process."""
        await self._socket.stop()


def _answers(path: Path) -> bool:
    """Whether a process listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, reachable(path) as name:
        probe.settimeout(1.0)
        return probe.connect_ex(name) == 0
