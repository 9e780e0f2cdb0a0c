"""From a request or an event to its answer: decode, authenticate, run in a transaction, reply.

One implementation for both transports. Whatever goes wrong ends here as an answer: refusals as they are
declared, everything unexpected as the declared failure and one line in the log, without any content.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from twisted.logger import Logger

from happy.api import answers, pieces
from happy.api.answers import Answer, Fault, json_answer
from happy.api.declare import Caller, Event, Proof, RequestFacts, Route
from happy.api.payload import Payload, UnsupportedMedia
from happy.api.portions import is_large
from happy.api.query import gather, split_query
from happy.api.structs import (
    Invalid,
    MalformedJson,
    Problem,
    decode_body,
    decode_headers,
    decode_query,
    decode_variables,
    parse_json,
)
from happy.base.errors import (
    AccountDisabled,
    AccountVanished,
    ChangedMeanwhile,
    DatabaseDown,
    Overloaded,
    QueryFailed,
    Refusal,
    TooLarge,
)
from happy.base.redaction import describe_fault
from happy.storage.calls import NOBODY
from happy.wire.complexity import SMALL, TooComplex, check_complexity

if TYPE_CHECKING:
    from happy.api.parts import Parts
    from happy.socketio.socket import Socket

_log = Logger()

BEARER: Final = "Bearer "

TURN_SECONDS: Final = 10.0
"""How long a serial event waits for those of its socket that come first."""

NO_CREDENTIALS: Final = "Missing authorization header"
WRONG_TOKEN: Final = "Invalid token"
UNCHECKED: Final = "Authentication failed"
UNAUTHENTICATED: Final = (NO_CREDENTIALS, WRONG_TOKEN, UNCHECKED)
"""Why a request may prove nothing (http.md 3.5)."""


class _NoAnswer:
    """The type of :data:`NO_ANSWER`."""

    def __repr__(self) -> str:
        return "NO_ANSWER"


NO_ANSWER: Final = _NoAnswer()
"""What :func:`call_event` returns for an event that is not acknowledged."""


_Body = tuple[dict[str, Any], Sequence[Problem]]
"""The parameter that takes a request's body, or what is wrong with the body. An exception that is kept would
hold the frames it passed through, and they the body."""
_Steps = Generator[None, None, _Body]


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it was received, before any of it is checked.

    ``variables`` are those of the path by parameter name, percent-decoded; ``query`` is the raw query
    string; ``payload`` finds out what the body is, raising :class:`UnsupportedMedia`; ``in_turns`` does the
    work on a large body in steps, between others' work; ``facts`` are made for handlers that ask for them,
    given the payload.
    """

    variables: Mapping[str, str]
    query: bytes
    header: Callable[[str], str | None]
    payload: Callable[[], Payload]
    in_turns: Callable[[_Steps], Awaitable[_Body]]
    facts: Callable[[Payload], RequestFacts]


class Unauthenticated(Exception):
    """Nothing proves who sends a request; ``str()`` is one of :data:`UNAUTHENTICATED`.

    ``token`` is what was taken for a proof, and is none.
    """

    def __init__(self, why: str, token: str | None = None) -> None:
        super().__init__(why)
        self.token = token


async def call_route(parts: Parts, route: Route, inputs: Inputs) -> Answer:
    """Answer a request to ``route``. Never fails."""
    account = None
    try:
        payload = inputs.payload()
        if payload.large:
            body = await inputs.in_turns(_body_in_slices(route, payload))
        else:
            body = _body_value(route, payload)
        values = _route_values(route, inputs, payload, body)
        # Only now: whoever sends what does not fit is told so before being asked for a token (http.md 3.4).
        caller = authenticate(parts, route, inputs.variables, inputs.query, inputs.header)
        account = None if caller is None else caller.account
        reply = await _run(parts, route, values, caller, read_only=route.method == "GET")
        if payload.large and is_large(reply):  # which repeats what was sent
            return pieces.in_pieces(parts, account, getattr(reply, "status", 200), reply)
        return await pieces.answer(parts, account, reply)
    except Unauthenticated as unproven:
        if unproven.token is not None:
            parts.events.login_refused(
                parts.tokens.why_refused(unproven.token), inputs.facts(payload).address
            )
        return answers.unauthorized(str(unproven)).answer(route.strips)
    except Refusal as refusal:
        if isinstance(refusal, AccountDisabled):
            parts.events.login_refused("account is disabled", inputs.facts(payload).address)
        return pieces.answer_with(parts, account, refusal.status, refusal.body())
    except Exception as error:
        fault = request_fault(error)
        if fault is None and isinstance(error, DatabaseDown) and route.failure is None:
            fault = answers.overloaded()  # where the contract has no words of its own for it
        if fault is not None:
            return fault.answer(route.strips)
        _report(f"{route.method} {route.path}", error)
        return failure_answer(route)


def failure_answer(route: Route) -> Answer:
    """The answer to an unexpected error: the endpoint's own, or the shared one."""
    if route.failure is not None:
        return json_answer(500, route.failure)
    return answers.failure().answer(route.strips)


def request_fault(error: Exception) -> Fault | None:
    """The shared answer to a fault of the request itself, if ``error`` is one."""
    match error:
        case Invalid():
            return answers.invalid(str(error))
        case MalformedJson():
            return answers.malformed(str(error))
        case UnsupportedMedia():
            return answers.unsupported(error.content_type)
        case Unauthenticated():
            return answers.unauthorized(str(error))
        case Overloaded():
            return answers.overloaded()
        case _:
            return None


def _route_values(route: Route, inputs: Inputs, payload: Payload, body: _Body) -> dict[str, Any]:
    """What the handler asks for and the request holds.

    A body that cannot be parsed comes before everything else; one that does not fit comes after the
    path variables and before query and headers (http.md 3.1).
    """
    value, problems = body
    values = decode_variables({name: route.parameters[name] for name in route.variables}, inputs.variables)
    if problems:
        raise Invalid(problems)
    values |= value
    if "query" in route.parameters:
        values["query"] = decode_query(route.parameters["query"], split_query(inputs.query))
    if "headers" in route.parameters:
        values["headers"] = decode_headers(route.parameters["headers"], inputs.header)
    if "request" in route.parameters:
        values["request"] = inputs.facts(payload)
    return values


def _body_value(route: Route, payload: Payload) -> _Body:
    """What becomes of a body. Raises MalformedJson."""
    try:
        if "body" in route.parameters:
            return {"body": payload.decode(route.parameters["body"])}, ()
        payload.parse()
        return _content(route, payload), ()
    except Invalid as misfit:
        return {}, misfit.problems


def _body_in_slices(route: Route, payload: Payload) -> _Steps:
    """As :func:`_body_value`, for a large body."""
    try:
        if "body" in route.parameters:
            value = yield from payload.decode_in_slices(route.parameters["body"])
            return {"body": value}, ()
        yield from payload.parse_in_slices()
        return _content(route, payload), ()
    except Invalid as misfit:
        return {}, misfit.problems


def _content(route: Route, payload: Payload) -> dict[str, Any]:
    return {"content": payload.file()} if "content" in route.parameters else {}


def authenticate(
    parts: Parts,
    route: Route,
    variables: Mapping[str, str],
    query: bytes,
    header: Callable[[str], str | None],
) -> Caller | None:
    """Who sends a request; None if that does not matter.

    Raises :class:`Unauthenticated`, and AccountDisabled.
    """
    if route.public:
        return None
    account = None if route.proof is None else _proven_account(parts, route.proof, variables, query)
    if account is not None:
        parts.tokens.access.check(account)
    return Caller(_bearer_account(parts, header) if account is None else account)


def _proven_account(parts: Parts, proof: Proof, variables: Mapping[str, str], query: bytes) -> str | None:
    members = gather(split_query(query))
    return proof(parts, variables, {name: text for name, text in members.items() if isinstance(text, str)})


def _bearer_account(parts: Parts, header: Callable[[str], str | None]) -> str:
    credentials = header("authorization") or ""
    if not credentials.startswith(BEARER) or credentials == BEARER:
        raise Unauthenticated(NO_CREDENTIALS)
    try:
        token = credentials[len(BEARER) :]
        account = parts.tokens.verify(token)
    except Refusal:
        raise
    except Exception as error:
        # The contract answers it unlike a fault of the route.
        _report("Checking a token", error)
        raise Unauthenticated(UNCHECKED) from None
    if account is None:
        raise Unauthenticated(WRONG_TOKEN, token)
    return account


def _with_parts(
    parts: Parts, declared: Route | Event, values: dict[str, Any], caller: Caller | None
) -> dict[str, Any]:
    """What the handler asks for, with what does not come from the request."""
    if "caller" in declared.parameters:
        values["caller"] = caller
    if "server" in declared.parameters:
        values["server"] = parts
    return values


async def _run(
    parts: Parts, declared: Route | Event, values: dict[str, Any], caller: Caller | None, *, read_only: bool
) -> Any:
    """Call the handler, inside of a transaction if it asks for one."""
    values = _with_parts(parts, declared, values, caller)
    handler = declared.handler
    if "tx" not in declared.parameters:
        return await handler(**values)
    if read_only:
        owner = NOBODY if caller is None else caller.account
        return await parts.database.read(lambda tx: handler(tx=tx, **values), owner=owner)
    if caller is None:
        return await parts.database.transact(lambda tx: handler(tx=tx, **values), owner=NOBODY)
    return await parts.database.transact(lambda tx: handler(tx=tx, **values), accounts=(caller.account,))


async def call_event(
    parts: Parts, event: Event, caller: Caller, socket: Socket, data: msgspec.Raw | None
) -> Any:
    """Handle an event and return its acknowledgement, or :data:`NO_ANSWER`. Never fails.

    ``data`` is the event's first argument, whatever it is. Serial events of a socket begin in the order
    of the calls, each when the one before has ended.
    """
    try:
        work = _event_work(parts, event, caller, socket, data)
        if not callable(event.invalid):
            data = None  # The handler has what it needs of it, and nobody else should keep it meanwhile.
        answer = await work
    except (Invalid, MalformedJson):
        answer = _invalid(event, data)
    except Refusal as refusal:
        answer = refusal.body()
    except Overloaded:
        if not event.acks:
            socket.close()  # the only way to say that nothing was done; the client comes back
        answer = NO_ANSWER if event.failure is None else event.failure
    except Exception as error:
        _report(f"Event {event.name}", error)
        answer = NO_ANSWER if event.failure is None else event.failure
    return answer if event.acks else NO_ANSWER


def _event_work(
    parts: Parts, event: Event, caller: Caller, socket: Socket, data: msgspec.Raw | None
) -> Awaitable[Any]:
    """What is to be done about an event. Raises MalformedJson or Invalid."""
    values = _event_values(event, socket, data)
    if event.serial or "tx" in event.parameters:
        return _handle(parts, event, caller, socket, values)
    return event.handler(**_with_parts(parts, event, values, caller))


def _event_values(event: Event, socket: Socket, data: msgspec.Raw | None) -> dict[str, Any]:
    """What the handler asks for and the event holds."""
    values: dict[str, Any] = {}
    if "body" in event.parameters:
        raw = b"null" if data is None else data
        if len(raw) > SMALL:  # How deep it nests was looked at when it arrived, with the packet.
            try:
                check_complexity(bytes(raw))
            except TooComplex as excess:
                raise MalformedJson(str(excess)) from None
        values["body"] = decode_body(event.parameters["body"], raw)
    if "socket" in event.parameters:
        values["socket"] = socket
    return values


async def _handle(parts: Parts, event: Event, caller: Caller, socket: Socket, values: dict[str, Any]) -> Any:
    if not event.serial:
        return await _run(parts, event, values, caller, read_only=False)
    turn = [f"{event.name} {socket.id}"]
    release = await parts.database.linearizer.acquire_within(TURN_SECONDS, turn, parts.clock)
    try:
        return await _run(parts, event, values, caller, read_only=False)
    finally:
        release()


def _invalid(event: Event, data: msgspec.Raw | None) -> Any:
    """The acknowledgement of a data argument that does not fit."""
    if callable(event.invalid):
        return event.invalid(_plain(data))
    return NO_ANSWER if event.invalid is None else event.invalid


def _plain(data: msgspec.Raw | None) -> Any:
    try:
        return None if data is None else parse_json(data)
    except MalformedJson:
        return None


def _report(what: str, error: Exception) -> None:
    """One line about an unexpected error: none that a client can cause at will (http.md 3.5, 3.9)."""
    if isinstance(error, AccountVanished) or (isinstance(error, QueryFailed) and error.ownerless):
        _log.debug("{what}: the account has vanished", what=what)
    elif isinstance(error, TooLarge | ChangedMeanwhile):
        _log.debug("{what}: a value is too large, or changes too often", what=what)
    elif isinstance(error, QueryFailed) and error.unstorable:
        _log.debug("{what}: a value cannot be stored", what=what)
    else:
        _log.error("{what} failed: {fault}", what=what, fault=describe_fault(error))
