"""A small server in memory, for a client that is asked to do something."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from happy.base.codecs import encode_base64url
from happy.client import (
    Account,
    AccountKeys,
    RemoteServer,
)

URL = "http://happy.test"


SECRET = bytes(range(32))


NOT_FOUND = (404, {"error": "Not found"})


HANG = (0, None)


class Call:
    """A request as the counterpart sees it."""

    def __init__(self, request: Any) -> None:
        self.method = request.method.decode()
        self.path = request.uri.partition(b"?")[0].decode()
        self.args: dict[bytes, list[bytes]] = request.args
        self.headers = {
            name.decode().lower(): values[0].decode()
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        self.raw = request.content.read()

    @property
    def query(self) -> dict[str, str]:
        return {name.decode(): values[0].decode() for name, values in self.args.items()}

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.raw)


Handler = Callable[[Call], tuple[int, Any]]


class Counterpart(Resource):
    """Answers what its handlers say: one for each method and path."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.handlers: dict[str, Handler] = {}

    def render(self, request: IRequest) -> Any:
        call = Call(request)
        self.calls.append(call)
        handler = self.handlers.get(f"{call.method} {call.path}", lambda _: NOT_FOUND)
        status, body = handler(call)
        if status == 0:
            return NOT_DONE_YET
        request.setResponseCode(status)
        return body if isinstance(body, bytes) else msgspec.json.encode(body)


def token_of(account: str) -> str:
    """A token as far as a client looks into it."""
    return f"h.{encode_base64url(msgspec.json.encode({'sub': account}))}.s"


class CounterpartCase(SynchronousTestCase):
    """A server in memory, and an account on it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.counterpart = Counterpart()
        self.agent = RequestTraversalAgent(self.counterpart)
        self.server = RemoteServer(URL + "/", self.clock, agent=self.agent, client="test/1")
        self.keys = AccountKeys(SECRET)
        self.account = Account(self.server, "T", self.keys)

    def on(self, method_and_path: str, handler: Handler) -> None:
        self.counterpart.handlers[method_and_path] = handler

    def always(self, body: Any) -> Handler:
        """A handler that succeeds with ``body``."""
        return lambda call: (200, body)

    def run_now(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of work that waits for nothing but the counterpart."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def fail_now(self, work: Coroutine[Any, Any, Any], error: type[Exception]) -> Any:
        """The error of work that waits for nothing but the counterpart."""
        return self.failureResultOf(Deferred.fromCoroutine(work), error).value
