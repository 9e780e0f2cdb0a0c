"""Declaring endpoints and socket events.

A handler is a plain coroutine function that asks for what it needs by parameter name; the decorators
record it and return it unchanged, so tests call it directly. Signatures are checked at import.

=============  ==========================================================================
``caller``     :class:`Caller`: the authenticated account (and socket, for events)
``body``       a Struct, decoded from the JSON body or the event's data argument
``content``    the raw body of a request as a readable binary file, for blobs
``query``      a Struct, coerced from the query string (http.md 3.4)
``headers``    a Struct, taken from the request headers (the member ``x_github_event`` is ``x-github-event``)
``tx``         a transaction; the pipeline opens, retries and commits it. Reading only for GET,
               otherwise holding the caller's account
``server``     the parts of the running server, for work that is more than one transaction
``request``    :class:`RequestFacts`: addressing facts of the HTTP request
``socket``     the connection an event came from
others         the path variables, in snake case (``:sessionId`` is ``session_id``); ``rest`` is what a final
               ``*`` stands for, percent-decoded, slashes included
=============  ==========================================================================
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from happy.base.errors import Refusal

if TYPE_CHECKING:
    from happy.api.parts import Parts
    from happy.settings.config import Config

MIB = 1024 * 1024

LONGEST_VARIABLE = 1024
"""A longer path variable matches nothing (D31)."""

Handler = Callable[..., Awaitable[Any]]
F = TypeVar("F", bound=Handler)

Proof = Callable[["Parts", Mapping[str, str], Mapping[str, str]], "str | None"]
"""Another proof of identity than a bearer token: the account that the path variables (by parameter
name) and the query members of a request prove, or None. Cheap and without side effects; asked before
the body is read, so that a proven request has the route's own size limit."""

_COMMON = frozenset({"caller", "body", "tx", "server"})
_ROUTE_ONLY = frozenset({"query", "headers", "content", "request"})
_EVENT_ONLY = frozenset({"socket"})
_VARIABLE = re.compile(r":([A-Za-z]+)")


class Caller(Struct, frozen=True):
    """Who asks: an account id, and the session named in the token's pairing claim is ignored."""

    account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What a handler may need of the HTTP request besides its values.

    ``base_url`` is where the client reaches us, without a trailing slash (http.md T1); ``raw`` the
    body's bytes as received; ``header(name)`` the first value of a header or None. ``address`` is the
    peer's, for counting requests within a window only: it is never stored or logged.
    """

    base_url: str
    address: str
    raw: bytes
    header: Callable[[str], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One HTTP endpoint. ``limit`` is the body's size limit in bytes for authenticated callers.

    A request that ``proof`` accepts needs no bearer token (http.md D20). ``strips`` names, for a status,
    the only members that the shared error answers keep here (http.md 3.6, field stripping).
    """

    method: str
    path: str
    handler: Handler
    parameters: Mapping[str, Any]
    returns: Any
    variables: tuple[str, ...]
    public: bool
    proof: Proof | None
    refuses: tuple[type[Refusal], ...]
    failure: Mapping[str, Any] | None
    strips: Mapping[int, tuple[str, ...]]
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One client-to-server event.

    ``acks`` tells whether it is ever acknowledged; ``invalid`` is the acknowledgement of a data
    argument that does not fit ``body`` (a value, or a function of the decoded JSON), ``failure``
    that of an unexpected error. ``serial`` events of one socket run one after another.
    """

    name: str
    handler: Handler
    parameters: Mapping[str, Any]
    returns: Any
    acks: bool
    invalid: Mapping[str, Any] | Callable[[Any], Mapping[str, Any]] | None
    failure: Mapping[str, Any] | None
    serial: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Emission:
    """One server-to-client event: its data argument, and what a client acknowledges it with, if it does."""

    name: str
    shape: Any
    answer: Any


def snake_case(name: str) -> str:
    """``sessionId`` as ``session_id``."""
    return re.sub(r"(?<!^)([A-Z])", lambda match: "_" + match[1].lower(), name)


@dataclass(slots=True)
class Capability:
    """A group of endpoints and events that belong together; its module is what the tap lists.

    Where ``enabled`` says no to a configuration, the server behaves as if the group did not exist.
    """

    name: str
    enabled: Callable[[Config], bool] = lambda config: True
    routes: list[Route] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    emissions: list[Emission] = field(default_factory=list)

    def emits(self, name: str, shape: Any, *, answer: Any = None) -> None:
        """Tell of a server-to-client event; ``answer`` is the type of its acknowledgement, if it has one."""
        self.emissions.append(Emission(name=name, shape=shape, answer=answer))

    def get(self, path: str, **options: Any) -> Callable[[F], F]:
        """Declare a GET endpoint; options as for :meth:`route`."""
        return self.route("GET", path, **options)

    def post(self, path: str, **options: Any) -> Callable[[F], F]:
        """Declare a POST endpoint; options as for :meth:`route`."""
        return self.route("POST", path, **options)

    def put(self, path: str, **options: Any) -> Callable[[F], F]:
        """Declare a PUT endpoint; options as for :meth:`route`."""
        return self.route("PUT", path, **options)

    def delete(self, path: str, **options: Any) -> Callable[[F], F]:
        """Declare a DELETE endpoint; options as for :meth:`route`."""
        return self.route("DELETE", path, **options)

    def route(
        self,
        method: str,
        path: str,
        *,
        public: bool = False,
        proof: Proof | None = None,
        refuses: tuple[type[Refusal], ...] = (),
        failure: Mapping[str, Any] | None = None,
        strips: Mapping[int, tuple[str, ...]] | None = None,
        limit: int = MIB,
    ) -> Callable[[F], F]:
        """Declare an endpoint. A bearer token is required unless ``public``, or ``proof`` takes its place.

        ``refuses`` lists the named error answers, ``failure`` is the body of the 500 answer where the
        contract gives one of its own, ``limit`` the largest body in bytes, ``strips`` as in :class:`Route`.
        """

        def declare(handler: F) -> F:
            variables = _variables(path)
            parameters, returns = _signature(handler, _COMMON | _ROUTE_ONLY | set(variables))
            declared = Route(
                method=method,
                path=path,
                handler=handler,
                parameters=parameters,
                returns=returns,
                variables=variables,
                public=public,
                proof=proof,
                refuses=refuses,
                failure=failure,
                strips=strips or {},
                limit=limit,
            )
            _check(declared)
            self.routes.append(declared)
            return handler

        return declare

    def event(
        self,
        name: str,
        *,
        acks: bool = True,
        invalid: Mapping[str, Any] | Callable[[Any], Mapping[str, Any]] | None = None,
        failure: Mapping[str, Any] | None = None,
        serial: bool = False,
    ) -> Callable[[F], F]:
        """Declare a client-to-server event (realtime.md B.6); see :class:`Event`."""

        def declare(handler: F) -> F:
            parameters, returns = _signature(handler, _COMMON | _EVENT_ONLY)
            self.events.append(
                Event(
                    name=name,
                    handler=handler,
                    parameters=parameters,
                    returns=returns,
                    acks=acks,
                    invalid=invalid,
                    failure=failure,
                    serial=serial,
                )
            )
            return handler

        return declare


def _check(route: Route) -> None:
    """Raise TypeError for a handler that does not fit what is said about its route."""
    if route.public and "caller" in route.parameters:
        raise TypeError(f"{route.method} {route.path} is public and cannot have a caller")
    if missing := set(route.variables) - set(route.parameters):
        name = getattr(route.handler, "__qualname__", "")
        raise TypeError(f"{route.method} {route.path}: {name} does not take {sorted(missing)}")


def _variables(path: str) -> tuple[str, ...]:
    """The names of a path's variables as handlers take them."""
    named = tuple(snake_case(name) for name in _VARIABLE.findall(path))
    return (*named, "rest") if path.endswith("/*") else named


def _signature(handler: Handler, allowed: frozenset[str] | set[str]) -> tuple[dict[str, Any], Any]:
    """The handler's annotated parameters and return type.

    Raises TypeError for a handler that is no coroutine function, asks for something unknown, or
    leaves a parameter without annotation.
    """
    where = f"{handler.__module__}.{handler.__qualname__}"
    if not inspect.iscoroutinefunction(handler):
        raise TypeError(f"{where} must be a coroutine function")
    hints = typing.get_type_hints(handler, include_extras=True)
    parameters = {}
    for name in inspect.signature(handler).parameters:
        if name not in allowed:
            raise TypeError(f"{where} asks for {name!r}, which nothing provides")
        if name not in hints:
            raise TypeError(f"{where} leaves {name!r} without a type")
        parameters[name] = hints[name]
    return parameters, hints.get("return", type(None))
