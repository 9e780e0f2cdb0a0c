"""Sites for whoever watches or controls a server: not for clients."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request as HTTPRequest
from twisted.web.server import NOT_DONE_YET, Request, Site

from happy.base.redaction import describe_fault

_log = Logger()


class WatchersSite(Site):
    """A site that keeps no access log."""

    noisy = False

    def log(self, request: HTTPRequest) -> None:
        """Say nothing."""


def answer_later(request: Request, answering: Coroutine[Deferred[Any], Any, bytes]) -> int:
    """Send a body once it is there, if anybody still waits for it; 500 if it cannot be made."""
    gone = False

    def leave(_: object) -> None:
        nonlocal gone
        gone = True

    def send(body: bytes) -> None:
        if not gone:
            request.setHeader(b"content-length", str(len(body)).encode())
            if request.method != b"HEAD":
                request.write(body)
            request.finish()

    def fail(failure: Failure) -> None:
        assert failure.value is not None
        _log.error("A watcher's request failed: {fault}", fault=describe_fault(failure.value))
        request.setResponseCode(500)
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        send(b"Internal Server Error")

    request.notifyFinish().addErrback(leave)
    Deferred.fromCoroutine(answering).addCallback(send).addErrback(fail)
    return NOT_DONE_YET
