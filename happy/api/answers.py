"""HTTP answers as values, and the bodies that every endpoint shares (http.md 3.6)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from msgspec import Struct, field

from happy.api.structs import Blob, PlainText, Redirect, Reply, encode
from happy.base.errors import AccountDisabled

JSON: Final = "application/json; charset=utf-8"
TEXT: Final = "text/plain; charset=utf-8"


class Allowance(Protocol):
    """What somebody may still keep in memory, in bytes."""

    def take(self, amount: int) -> bool:
        """Take some; False, and nothing taken, when there is none."""

    def give_back(self, amount: int) -> None:
        """Give back some of what was taken."""


class Pieces(Protocol):
    """A body that is made while it is sent; ``length`` is None where it is not known before."""

    length: int | None

    async def read(self, allowance: Allowance) -> bytes:
        """The next piece, whose size has been taken from ``allowance``; empty at the end.

        Raises what makes that impossible: then what was sent so far is no whole answer.
        """

    def close(self) -> None:
        """No more is wanted: let go of everything. May be called again, and while a piece is awaited."""


class Answer(Struct, frozen=True, kw_only=True):
    """What goes out: a status, headers in lower case, and bytes that are at hand or streamed.

    ``account`` is who asked, if that is known, and pays for what has to be kept until it is sent.
    """

    status: int = 200
    content: bytes | Blob | Pieces = b""
    content_type: str | None = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    account: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A shared error answer; an endpoint may declare that it keeps only some of the members."""

    status: int
    members: Mapping[str, Any]

    def answer(self, strips: Mapping[int, Collection[str]] | None = None) -> Answer:
        """Render it, without what ``strips`` (members to keep, by status) takes away."""
        kept = (strips or {}).get(self.status, self.members)
        return json_answer(self.status, {name: self.members[name] for name in self.members if name in kept})


def json_answer(status: int, value: Any, account: str | None = None) -> Answer:
    """``value`` as a JSON answer."""
    return Answer(status=status, content=encode(value), account=account)


def answer_of(reply: Any, account: str | None = None) -> Answer:
    """The answer that a handler's return value stands for; anything but the known kinds is JSON."""
    if isinstance(reply, Reply):
        return json_answer(reply.status, reply, account)
    if isinstance(reply, PlainText):
        content = reply.text.encode()
        return Answer(status=reply.status, content=content, content_type=TEXT, account=account)
    if isinstance(reply, Redirect):
        return Answer(status=reply.status, content_type=None, headers={"location": reply.location})
    if isinstance(reply, Blob):
        return Answer(content=reply, content_type=reply.content_type, headers=reply.headers, account=account)
    return json_answer(200, reply, account)


def _fault(status: int, error: str, message: str) -> Fault:
    return Fault(status, {"error": error, "message": message, "statusCode": status})


def invalid(problems: str) -> Fault:
    """A request that does not fit its declaration (V400)."""
    return _fault(400, "Error", problems)


def malformed(text: str) -> Fault:
    """A body that is not JSON."""
    return _fault(400, "SyntaxError", text)


def too_large() -> Fault:
    """A body beyond the endpoint's limit."""
    return _fault(413, "FastifyError", "Request body is too large")


def unsupported(content_type: str | None) -> Fault:
    """A body of a type that is not understood, or of none."""
    named = "undefined" if content_type is None else content_type[:200]
    return _fault(415, "FastifyError", f"Unsupported Media Type: {named}")


def failure() -> Fault:
    """An error nobody expected (G500)."""
    return _fault(500, "Internal Server Error", "An unexpected error occurred")


def overloaded() -> Fault:
    """A bounded queue is full; nothing was done, and trying again is right."""
    return _fault(503, "Service Unavailable", "The server is busy, try again")


def unauthorized(error: str) -> Fault:
    """A request without proof of who sends it (AU)."""
    return Fault(401, {"error": error})


def disabled() -> Fault:
    """A request with the token of an account that the operator keeps out."""
    return Fault(AccountDisabled.status, dict(AccountDisabled().body()))


def not_found(target: str, method: str) -> Fault:
    """A path nothing is served at; ``target`` is the path with the query, as received."""
    return Fault(404, {"error": "Not found", "path": target, "method": method})


def bad_path(path: str) -> Answer:
    """A path that is wrongly percent-encoded."""
    body = {
        "error": "Bad Request",
        "code": "FST_ERR_BAD_URL",
        "message": f"'{path}' is not a valid url component",
        "statusCode": 400,
    }
    return Answer(status=400, content=encode(body), content_type="application/json")


def headers_too_large() -> Fault:
    """A header block beyond what is read."""
    return _fault(431, "Request Header Fields Too Large", "Exceeded maximum allowed HTTP header size")


def unparsable() -> Fault:
    """Bytes that are not HTTP."""
    return _fault(400, "Bad Request", "Client Error")
