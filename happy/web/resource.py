"""The one resource that serves every declared endpoint."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final, TypeVar

from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from happy.api import answers
from happy.api.answers import Answer, Fault
from happy.api.declare import Caller, Capability, RequestFacts
from happy.api.payload import Payload, UnsupportedMedia
from happy.api.pipeline import (
    BEARER,
    Inputs,
    Unauthenticated,
    authenticate,
    call_route,
    request_fault,
)
from happy.api.structs import encode
from happy.base.coroutines import drive
from happy.base.errors import Overloaded, Refusal
from happy.base.redaction import describe_fault
from happy.web.addressing import Origins, base_url
from happy.web.asked import Parsed
from happy.web.bodies import LargeWork
from happy.web.inflight import InFlight
from happy.web.routes import BadPath, RouteTable, Target, local_target
from happy.web.sending import Sender
from happy.web.webapp import WebApp

if TYPE_CHECKING:
    from twisted.web.http import Request

    from happy.api.parts import Parts
    from happy.web.asked import Asked

T = TypeVar("T")

PREFLIGHT_SECONDS: Final = 86_400
UNMATCHED: Final = "unmatched"
MATCHES: Final = 4096
"""Paths that are remembered, for they come again and again; some two MiB."""
LONG_PATH: Final = 150
"""A longer path is not remembered."""

_TOKEN: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)


class Router(Resource):
    """Answers every request but those of the realtime endpoint.

    ``work`` counts what is under way, including the work for clients that have left; ``memory`` is for what
    clients make the server keep, ``origins`` knows who they are.
    """

    isLeaf = True
    log = Logger()

    def __init__(self, capabilities: Iterable[Capability], parts: Parts) -> None:
        super().__init__()
        self.work = InFlight()
        self.memory = parts.memory
        self.origins = Origins(parts.config.trusted_proxies)
        self.sender = Sender(parts)
        self._large = LargeWork(parts.memory.size // 2, parts.clock)
        self._parts = parts
        self._webapp = _webapp(parts)
        enabled = [capability for capability in capabilities if capability.enabled(parts.config)]
        self._routes = RouteTable(route for capability in enabled for route in capability.routes)
        self._match = lru_cache(MATCHES)(self._routes.match)

    def elsewhere(self, owner: str, call: Callable[[], None]) -> None:
        """Make a call in a thread, or here when too many wait for one."""
        made = self._parts.files.run_for(owner, call)
        made.addErrback(lambda failure: call() if failure.check(Overloaded) else None)

    def target(self, method: bytes, uri: bytes) -> Target:
        """Find out what a request is for. A preflight is for any path, even one that cannot be read."""
        path, _, query = local_target(uri).partition(b"?")
        name = method.decode("latin-1")
        if method == b"OPTIONS":
            return Target(name, uri, path, query, None)
        match = self._match if len(path) <= LONG_PATH else self._routes.match
        try:
            return Target(name, uri, path, query, match(name, path))
        except BadPath:
            return Target(name, uri, path, query, None, bad=True)

    def admit(self, request: Asked, size: int) -> Caller | Answer:
        """Who sends a body of ``size`` bytes, more than a mebibyte; or why it is not read (D24).

        Only a caller who proves to be one may send so much.
        """
        target, match = request.target, request.target.match
        if match is None or size > target.limit:
            return answers.too_large().answer(target.strips)
        try:
            caller = authenticate(self._parts, match.route, match.variables, target.query, request.header)
        except Unauthenticated as fault:
            token = (request.header("authorization") or "").removeprefix(BEARER)
            refused = answers.unauthorized(str(fault)) if _TOKEN.fullmatch(token) else answers.too_large()
            return refused.answer(target.strips)
        except Refusal as refusal:
            return answers.json_answer(refusal.status, refusal.body())
        return answers.too_large().answer(target.strips) if caller is None else caller

    def render(self, request: Request) -> int:
        """Answer a request; its body is complete."""
        target = getattr(request, "target", None) or self.target(request.method, request.uri)
        self.answer(Parsed(request, target), None)
        return NOT_DONE_YET

    def answer(self, request: Asked, refusal: Answer | None) -> None:
        """Send the answer to a request, or ``refusal`` instead, and count it."""
        drive(self._serve(request, refusal), _nothing, lambda error: self._broken(error, request))

    def _broken(self, error: BaseException, request: Asked) -> None:
        """Sending failed: cut the connection, since nobody knows what the client has seen."""
        self.log.error("Sending an answer failed: {fault}", fault=describe_fault(error))
        if request.channel is not None:
            request.channel.transport.abortConnection()

    async def _serve(self, request: Asked, refusal: Answer | None) -> None:
        target, clock = request.target, self._parts.clock
        began = clock.seconds()
        client = request.header("x-happy-client")
        self.work.enter()
        try:
            answer = refusal or await self._answer_safely(request, target)
            payer = partial(self._payer, request, answer)
            status = await request.send(answer, self.sender, payer, cors=not target.bad)
        finally:
            request.release()
            self.work.leave()
        metrics = self._parts.metrics
        template = UNMATCHED if target.match is None else target.match.route.path
        labels = metrics.client_labels(client)
        metrics.answered(target.method, template, status, labels, clock.seconds() - began)

    def _payer(self, request: Asked, answer: Answer) -> str:
        """Who pays for what is kept until an answer is sent."""
        if answer.account is not None:
            return f"account:{answer.account}"
        return self.origins.owner(request.peer(), request.forwarded_for())

    async def _answer_safely(self, request: Asked, target: Target) -> Answer:
        try:
            if target.match is not None:
                return await call_route(self._parts, target.match.route, self._inputs(request, target))
            return await self._answer_unmatched(request, target)
        except Overloaded:
            return answers.overloaded().answer()
        except Exception as error:
            # What no route answered: those answer their own failures.
            self.log.error("Answering a request failed: {fault}", fault=describe_fault(error))
            return answers.failure().answer()
        finally:
            if request.large is not None:
                self._large.leave(request.large)  # however long the client takes for the answer

    async def _answer_unmatched(self, request: Asked, target: Target) -> Answer:
        if target.method == "OPTIONS":
            return _preflight(request)
        if target.bad:
            return answers.bad_path(target.path.decode("latin-1"))
        fault = _unreadable(self._inputs(request, target))
        if fault is not None:
            return fault.answer()
        if self._webapp is not None:
            owner = self.origins.owner(request.peer(), request.forwarded_for())
            return await self._webapp.answer(target, request.header, owner)
        return answers.not_found(target.uri.decode("latin-1"), target.method).answer()

    def _inputs(self, request: Asked, target: Target) -> Inputs:
        return Inputs(
            variables={} if target.match is None else target.match.variables,
            query=target.query,
            header=request.header,
            payload=request.payload,
            in_turns=partial(self._in_turns, request),
            facts=partial(self._facts, request),
        )

    async def _in_turns(self, request: Asked, steps: Generator[None, None, T]) -> T:
        """Work on a large body as soon as there is room for what becomes of it."""
        request.large = await self._large.enter(request.owner, request.size())
        return await request.in_turns(steps)

    def _facts(self, request: Asked, payload: Payload) -> RequestFacts:
        return RequestFacts(
            base_url=base_url(request, self._parts.config),
            address=self.origins.address(request.peer(), request.forwarded_for()),
            raw=payload.raw,
            header=request.header,
        )


def _webapp(parts: Parts) -> WebApp | None:
    config = parts.config
    if config.webapp is None:
        return None
    told = config.webapp_config
    if told is None and config.public_url:
        told = encode({"serverUrl": config.public_url, "disableAnalytics": True}).decode()
    return WebApp(config.webapp, parts.pages, told)


def _unreadable(inputs: Inputs) -> Fault | None:
    """What is wrong with a body nobody asked for; it comes before the unknown path (http.md 3.1).

    One of an unknown type is not read here, so nothing is wrong with it.
    """
    try:
        inputs.payload().parse()
    except UnsupportedMedia:
        return None
    except Exception as error:
        fault = request_fault(error)
        if fault is None:
            raise
        return fault
    return None


def _preflight(request: Asked) -> Answer:
    """Let every origin send what it asks for (http.md 3.7, D39)."""
    if not request.header("origin") or not request.header("access-control-request-method"):
        return Answer(status=400, content=b"Invalid Preflight Request", content_type="text/plain")
    return Answer(
        status=204,
        content_type=None,
        headers={
            "access-control-allow-methods": "GET, POST, PUT, DELETE",
            "access-control-allow-headers": request.header("access-control-request-headers") or "*",
            "access-control-max-age": str(PREFLIGHT_SECONDS),
        },
    )


def _nothing(result: None) -> None:
    """What is left to do when an answer was sent."""
