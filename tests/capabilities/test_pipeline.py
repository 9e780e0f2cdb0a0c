"""From inputs to answers: the order of checks, transactions, and what becomes of errors (http.md 3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from types import SimpleNamespace
from typing import Any, BinaryIO, ClassVar, Literal, cast

import msgspec
import psycopg2
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from happy.capabilities._declare import Caller, Capability, RequestFacts
from happy.capabilities._pipeline import NO_ANSWER, Inputs, call_event, call_route
from happy.errors import AccountVanished, Overloaded, Refusal
from happy.server import Server
from happy.wire.answers import Answer
from happy.wire.payload import payload_of
from happy.wire.structs import Blob, Body, Headers, Integer, PlainText, Query, Redirect, Reply
from tests.toys import ToyDatabase, toy_server

toys = Capability("toys")


class Taken(Refusal):
    status = 409
    error = "Taken"


class NewToy(Body):
    name: str


class Named(Reply):
    toy_name: str


class Made(Reply):
    status: ClassVar[int] = 201
    made: bool = True


class Few(Query):
    limit: Integer = 1


class Signed(Headers):
    x_signature: str


async def fail(error: Exception) -> Any:
    raise error


@toys.post("/toys/:kind", refuses=(Taken,))
async def make(
    tx: Any, caller: Caller, kind: Literal["car", "boat"], body: NewToy, query: Few, headers: Signed
) -> Named:
    """Make a toy."""
    if body.name == "taken":
        raise Taken
    return Named(toy_name=f"{caller.account} {kind} {body.name} {query.limit} {headers.x_signature} {tx}")


@toys.get("/toys")
async def look(tx: Any, caller: Caller) -> list[str]:
    """All toys."""
    return [caller.account, tx]


@toys.delete("/toys", public=True)
async def drop(tx: Any) -> Made:
    """Drop everything."""
    return Made()


@toys.post("/broken")
async def broken(server: Server) -> None:
    """Fail unexpectedly."""
    await fail(cast(Any, server).error)


@toys.post("/broken/own", failure={"error": "Toys are broken"})
async def broken_own(server: Server) -> None:
    """Fail, and say so in words of its own."""
    await fail(cast(Any, server).error)


@toys.post("/broken/stripped", strips={500: ("error",), 400: ("error",), 415: ()})
async def broken_stripped(server: Server, body: NewToy) -> None:
    """Fail, with less to say."""
    await fail(cast(Any, server).error)


@toys.put("/blob", public=True)
async def store(content: BinaryIO) -> PlainText:
    """Take any bytes."""
    return PlainText(content.read().decode("latin-1"))


@toys.get("/elsewhere", public=True)
async def elsewhere() -> Redirect:
    """Point away."""
    return Redirect("https://example.org/")


@toys.get("/chunks", public=True)
async def chunks() -> Blob:
    """Stream."""
    return Blob(chunks=[b"a"], headers={"x-a": "b"})


@toys.post("/nothing", public=True)
async def nothing(request: RequestFacts) -> dict[str, Any]:
    """Look at the request only."""
    return {"raw": request.raw.decode(), "base": request.base_url}


def signed_by(server: Server, variables: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    return variables["kind"] if query.get("signature") == "good" else None


@toys.get("/signed/:kind", proof=signed_by)
async def signed(caller: Caller, kind: str) -> str:
    """Let a signature stand for a token."""
    return caller.account


@toys.get("/unencodable", public=True)
async def unencodable() -> Any:
    """Answer what is no JSON."""
    return object()


JSON = "application/json"
TOKEN = "Bearer a.token.of-ann"
GOOD = {"authorization": TOKEN, "x-signature": "s", "content-type": JSON}


class PipelineCase(SynchronousTestCase):
    """Tests that call toy endpoints."""

    def setUp(self) -> None:
        self.database = ToyDatabase()
        self.error: Exception = RuntimeError("secret words")
        self.server = toy_server(database=self.database)
        cast(Any, self.server).error = self.error
        self.logged: list[LogEvent] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def failing_with(self, error: Exception) -> None:
        cast(Any, self.server).error = error

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        query: bytes = b"",
        headers: Mapping[str, str] | None = None,
        **variables: str,
    ) -> Answer:
        route = next(one for one in toys.routes if (one.method, one.path) == (method, path))
        sent = GOOD if headers is None else headers
        payload = payload_of
        inputs = Inputs(
            variables=variables,
            query=query,
            header=sent.get,
            payload=lambda: payload(method, sent.get("content-type"), len(body), BytesIO(body)),
            facts=lambda found: RequestFacts(
                base_url="http://h", address="1.2.3.4", raw=found.raw, header=sent.get
            ),
        )
        return self.successResultOf(Deferred.fromCoroutine(call_route(self.server, route, inputs)))

    def asked(self, *arguments: Any, **options: Any) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        answer = self.ask(*arguments, **options)
        assert isinstance(answer.content, bytes)
        return answer.status, json.loads(answer.content)

    def log_text(self) -> str:
        return "\n".join(str(event) for event in self.logged)


class OrderTests(PipelineCase):
    """What is checked before what (http.md 3.1)."""

    def fault(self, body: bytes, query: bytes, headers: Mapping[str, str], kind: str) -> str:
        status, found = self.asked("POST", "/toys/:kind", body, query=query, headers=headers, kind=kind)
        self.assertIn(status, (400, 401))
        return str(found.get("message", found["error"])).partition(" ")[0]

    def test_each_group_comes_before_the_next(self) -> None:
        """Parsing, path, body, query, headers, token: the first group with problems ends the request."""
        bare = {"content-type": JSON}
        signed = {**bare, "x-signature": "s"}
        order = [
            self.fault(b"{", b"limit=x", bare, "plane"),
            self.fault(b"{}", b"limit=x", bare, "plane"),
            self.fault(b"{}", b"limit=x", bare, "car"),
            self.fault(b'{"name":""}', b"limit=x", bare, "car"),
            self.fault(b'{"name":""}', b"", bare, "car"),
            self.fault(b'{"name":""}', b"", signed, "car"),
        ]
        self.assertEqual(
            order[1:],
            ["params/kind", "body/name", "querystring/limit", "headers/x-signature", "Missing"],
        )
        self.assertNotIn("/", order[0])

    def test_a_token_is_not_looked_at_before_the_request_is_valid(self) -> None:
        """Nothing is spent on the token of a request that cannot be served."""
        self.asked("POST", "/toys/:kind", b"{}", kind="car")
        self.assertEqual(cast(Any, self.server.tokens).checked, 0)


class AnswerTests(PipelineCase):
    """What handlers get, and what becomes of what they return."""

    def test_everything_a_handler_asks_for(self) -> None:
        """Path, body, query, headers, caller and transaction arrive by name."""
        status, body = self.asked("POST", "/toys/:kind", b'{"name":"n"}', query=b"limit=7", kind="boat")
        self.assertEqual((status, body), (200, {"toyName": "ann boat n 7 s tx"}))

    def test_writing_holds_the_account(self) -> None:
        """Any method but GET runs in a transaction that holds the caller's account."""
        self.asked("POST", "/toys/:kind", b'{"name":"n"}', kind="car")
        self.assertEqual(self.database.notes, [("transact", ("ann",)), ("committed",)])

    def test_reading_holds_nothing(self) -> None:
        """GET only reads."""
        self.assertEqual(self.asked("GET", "/toys"), (200, ["ann", "tx"]))
        self.assertEqual(self.database.notes, [("read",)])

    def test_open_writing_holds_no_account(self) -> None:
        """An open endpoint's transaction knows no account; its answer has the declared status."""
        self.assertEqual(self.asked("DELETE", "/toys", headers={}), (201, {"made": True}))
        self.assertEqual(self.database.notes, [("transact", ()), ("committed",)])

    def test_a_refusal_rolls_back(self) -> None:
        """A refusal is answered as declared, and nothing of the transaction stays."""
        self.assertEqual(
            self.asked("POST", "/toys/:kind", b'{"name":"taken"}', kind="car"), (409, {"error": "Taken"})
        )
        self.assertEqual(self.database.notes[-1], ("rolled back",))
        self.assertEqual(self.logged, [])

    def test_redirect(self) -> None:
        """A redirect has a location, no body and no type."""
        answer = self.ask("GET", "/elsewhere")
        self.assertEqual((answer.status, answer.content, answer.content_type), (302, b"", None))
        self.assertEqual(answer.headers, {"location": "https://example.org/"})

    def test_blob(self) -> None:
        """A blob is passed on to be streamed."""
        answer = self.ask("GET", "/chunks")
        self.assertIsInstance(answer.content, Blob)
        self.assertEqual(answer.headers, {"x-a": "b"})

    def test_facts(self) -> None:
        """A handler may look at the request itself, the body as received included."""
        self.assertEqual(
            self.asked("POST", "/nothing", b' {"a":1}'), (200, {"raw": ' {"a":1}', "base": "http://h"})
        )


class BodyTests(PipelineCase):
    """Kinds of bodies (http.md 3.3)."""

    def made(self, body: bytes, content_type: str | None) -> tuple[int, Any]:
        headers = {"authorization": TOKEN, "x-signature": "s"}
        if content_type is not None:
            headers["content-type"] = content_type
        return self.asked("POST", "/toys/:kind", body, headers=headers, kind="car")

    def message(self, body: bytes, content_type: str | None) -> str:
        status, found = self.made(body, content_type)
        self.assertEqual((status, found["error"], found["statusCode"]), (400, "Error", 400))
        return str(found["message"])

    def test_json_type_with_parameters(self) -> None:
        """Parameters and capitals in the type do not matter."""
        self.assertEqual(self.made(b'{"name":"n"}', "Application/JSON; charset=UTF-8")[0], 200)

    def test_blank_json_is_an_empty_object(self) -> None:
        """An empty or blank JSON body is an empty object."""
        for blank in (b"", b" \r\n\t"):
            self.assertEqual(
                self.message(blank, JSON), "body/name Invalid input: expected string, received undefined"
            )

    def test_plain_text_is_a_string(self) -> None:
        """Plain text reaches validation as a string."""
        self.assertEqual(
            self.message(b"{}", "text/plain"), "body/ Invalid input: expected object, received string"
        )

    def test_bytes_are_an_object_without_members(self) -> None:
        """Raw bytes reach validation as an object of bytes."""
        self.assertEqual(
            self.message(b"{}", "application/octet-stream"),
            "body/name Invalid input: expected string, received undefined",
        )

    def test_no_body_is_null(self) -> None:
        """Neither body nor type is null."""
        self.assertEqual(self.message(b"", None), "body/ Invalid input: expected object, received null")

    def test_other_types(self) -> None:
        """Any other type, with a body or not, and a body without a type are not understood."""
        for content_type, body, named in (
            (None, b"x", "undefined"),
            ("", b"", "undefined"),
            ("application/xml", b"x", "application/xml"),
            ("application/xml", b"", "application/xml"),
        ):
            self.assertEqual(
                self.made(body, content_type),
                (
                    415,
                    {
                        "error": "FastifyError",
                        "message": f"Unsupported Media Type: {named}",
                        "statusCode": 415,
                    },
                ),
            )

    def test_malformed(self) -> None:
        """A body that is not JSON is a syntax error."""
        status, found = self.made(b"{", JSON)
        self.assertEqual((status, found["error"], found["statusCode"]), (400, "SyntaxError", 400))
        self.assertTrue(found["message"])

    def test_a_body_nobody_reads_must_still_parse(self) -> None:
        """Where the body does not matter, any JSON passes, no body passes, broken JSON does not."""
        for body, headers, expected in (
            (b"{}", {"content-type": JSON}, 201),
            (b"[1]", {"content-type": JSON}, 201),
            (b"", {"content-type": JSON}, 201),
            (b'{"a":"\\ud800"}', {"content-type": JSON}, 201),
            (b"", {}, 201),
            (b"text", {"content-type": "text/plain"}, 201),
            (b"{", {"content-type": JSON}, 400),
            (b"a=b", {"content-type": "application/x-www-form-urlencoded"}, 415),
        ):
            self.assertEqual(self.ask("DELETE", "/toys", body, headers=headers).status, expected, body)

    def test_bodies_of_reads_are_ignored(self) -> None:
        """GET never has its body read, whatever it is."""
        headers = {**GOOD, "content-type": "application/xml"}
        self.assertEqual(self.asked("GET", "/toys", b"{", headers=headers)[0], 200)

    def test_stored_bodies(self) -> None:
        """An endpoint that stores bytes takes them from bytes, text and JSON, and empty ones (D32)."""
        for content_type in ("application/octet-stream", "text/plain", JSON):
            for body in (b"[ 1 ]", b""):
                answer = self.ask("PUT", "/blob", body, headers={"content-type": content_type})
                self.assertEqual((answer.status, answer.content), (200, body))

    def test_stored_bodies_are_what_they_say(self) -> None:
        """JSON has to be JSON even where it is only stored."""
        status, found = self.asked("PUT", "/blob", b"{", headers={"content-type": JSON})
        self.assertEqual((status, found["error"]), (400, "SyntaxError"))

    def test_nothing_to_store(self) -> None:
        """An endpoint that stores bytes refuses a request without any (D32)."""
        status, found = self.asked("PUT", "/blob", b"", headers={})
        self.assertEqual((status, found["error"]), (400, "Error"))


class AuthenticationTests(PipelineCase):
    """Who asks (http.md 3.5)."""

    def refused(self, headers: Mapping[str, str]) -> str:
        status, found = self.asked("GET", "/toys", headers=headers)
        self.assertEqual((status, set(found)), (401, {"error"}))
        return str(found["error"])

    def test_no_credentials(self) -> None:
        """Anything but exactly ``Bearer `` and something is no credential."""
        for header in ("", "bearer a.token.of-ann", "Basic x", "Bearer", "Bearer ", "Bearera.token.of-ann"):
            self.assertEqual(self.refused({"authorization": header}), "Missing authorization header")
        self.assertEqual(self.refused({}), "Missing authorization header")

    def test_bad_token(self) -> None:
        """The token is everything after the first space, and must be valid."""
        for token in ("x", " a.token.of-ann"):
            self.assertEqual(self.refused({"authorization": f"Bearer {token}"}), "Invalid token")

    def test_token_that_cannot_be_checked(self) -> None:
        """An error while checking is a 401 of its own, and is logged without the token."""
        self.assertEqual(self.refused({"authorization": "Bearer breaks"}), "Authentication failed")
        self.assertIn("RuntimeError", self.log_text())
        self.assertNotIn("breaks", self.log_text())

    def test_proof(self) -> None:
        """A proof stands for a token; without it the token is asked for."""
        good = self.asked("GET", "/signed/:kind", query=b"signature=good", headers={}, kind="ben")
        self.assertEqual(good, (200, "ben"))
        repeated = b"signature=good&signature=good"
        for query in (b"", b"signature=bad", repeated):
            bad = self.asked("GET", "/signed/:kind", query=query, headers={}, kind="ben")
            self.assertEqual(bad, (401, {"error": "Missing authorization header"}))
        self.assertEqual(self.asked("GET", "/signed/:kind", kind="ben"), (200, "ann"))


G500 = {"error": "Internal Server Error", "message": "An unexpected error occurred", "statusCode": 500}


class FailureTests(PipelineCase):
    """Unexpected errors."""

    def test_shared_answer(self) -> None:
        """An unexpected error is a 500 that tells nothing."""
        self.assertEqual(self.asked("POST", "/broken", b"{}"), (500, G500))

    def test_own_answer(self) -> None:
        """An endpoint may declare a 500 answer of its own."""
        self.assertEqual(self.asked("POST", "/broken/own", b"{}"), (500, {"error": "Toys are broken"}))

    def test_one_line_without_content(self) -> None:
        """The log gets one line: the endpoint, the error's type and place, nothing of its text."""
        self.ask("POST", "/broken", b"{}")
        self.assertEqual(len(self.logged), 1)
        self.assertIn("POST /broken", self.log_text())
        self.assertIn("RuntimeError", self.log_text())
        self.assertIn("test_pipeline.py", self.log_text())
        self.assertNotIn("secret", self.log_text())

    def test_database_errors_have_a_state(self) -> None:
        """Of a database error the SQLSTATE is logged, not the message with the row in it."""

        class Refused(psycopg2.Error):
            pgcode = "22021"

        self.failing_with(Refused("invalid byte sequence: secret"))
        self.ask("POST", "/broken", b"{}")
        self.assertIn("22021", self.log_text())
        self.assertNotIn("secret", self.log_text())

    def test_a_vanished_account_is_no_error_of_ours(self) -> None:
        """A token of a vanished account gets a 500 and no line in the error log."""
        self.failing_with(AccountVanished("ann"))
        self.assertEqual(self.asked("POST", "/broken", b"{}"), (500, G500))
        self.assertEqual([event["log_level"].name for event in self.logged], ["debug"])

    def test_overload(self) -> None:
        """A full queue says: later."""
        self.failing_with(Overloaded())
        self.assertEqual(self.asked("POST", "/broken", b"{}")[0], 503)

    def test_what_cannot_be_encoded(self) -> None:
        """A return value that is no JSON is an unexpected error."""
        self.assertEqual(self.asked("GET", "/unencodable"), (500, G500))

    def test_stripping(self) -> None:
        """Where a status is declared with fewer members, the shared answers keep only those."""
        path = "/broken/stripped"
        self.assertEqual(self.asked("POST", path, b"{}"), (400, {"error": "Error"}))
        self.assertEqual(self.asked("POST", path, b"{"), (400, {"error": "SyntaxError"}))
        self.assertEqual(self.asked("POST", path, b'{"name":""}'), (500, {"error": "Internal Server Error"}))
        self.assertEqual(self.asked("POST", path, b"x", headers={"content-type": "x/y"}), (415, {}))


class Report(Body):
    sid: str
    wait: bool = False


class Acked(msgspec.Struct):
    ok: bool


def explain(data: Any) -> dict[str, Any]:
    return {"got": data}


@toys.event("plain", invalid={"ok": False}, failure={"ok": None})
async def plain(tx: Any, caller: Caller, socket: Any, body: Report) -> Acked:
    """Answer."""
    if body.sid == "taken":
        raise Taken
    if body.sid == "fail":
        raise RuntimeError("secret words")
    return Acked(ok=True)


@toys.event("explained", invalid=explain)
async def explained(body: Report) -> None:
    """Explain what does not fit."""


@toys.event("silent", acks=False)
async def silent(body: Report) -> str:
    """Never answer."""
    return "answer"


@toys.event("crowded", acks=False)
async def crowded(body: Report) -> None:
    """Find a queue full."""
    raise Overloaded


@toys.event("ping")
async def ping() -> dict[str, Any]:
    """Look at nothing."""
    return {}


@toys.event("full", failure={"ok": None})
async def full() -> None:
    """Find a queue full."""
    raise Overloaded


@toys.event("full-silent", acks=False)
async def full_silent() -> None:
    """Find a queue full, with nobody to tell."""
    raise Overloaded


@toys.event("anything")
async def anything(body: Any) -> Any:
    """Take whatever comes."""
    return [body]


@toys.event("unprepared")
async def unprepared(body: Report) -> None:
    """Declare no answer for anything."""
    raise RuntimeError("secret words")


@toys.event("queued", serial=True)
async def queued(socket: Any, body: Report) -> str:
    """Wait for a turn."""
    socket.begun.append(body.sid)
    if body.wait:
        await socket.gate
    return body.sid


class EventTests(PipelineCase):
    """Events of sockets (realtime.md B.6, D-5, D-10)."""

    def handling(self, name: str, data: bytes | None, socket: Any = None) -> Deferred[Any]:
        event = next(one for one in toys.events if one.name == name)
        raw = None if data is None else msgspec.Raw(data)
        return Deferred.fromCoroutine(call_event(self.server, event, Caller("ann"), socket, raw))

    def handle(self, name: str, data: bytes | None) -> Any:
        return self.successResultOf(self.handling(name, data))

    def test_answer(self) -> None:
        """What the handler returns is the acknowledgement; its transaction holds the caller's account."""
        self.assertEqual(self.handle("plain", b'{"sid":"s"}'), Acked(ok=True))
        self.assertEqual(self.database.notes, [("transact", ("ann",)), ("committed",)])

    def test_invalid(self) -> None:
        """A data argument that is missing, no object, or wrong gets the declared answer."""
        for data in (
            None,
            b"null",
            b"5",
            b'"text"',
            b"[]",
            b"{}",
            b'{"sid":5}',
            b'{"sid":"\xff"}',
            b"[" * 9999,
        ):
            self.assertEqual(self.handle("plain", data), {"ok": False})
        self.assertEqual(self.database.notes, [])

    def test_explained(self) -> None:
        """The declared answer may depend on what came."""
        self.assertEqual(self.handle("explained", b'{"sid":[1]}'), {"got": {"sid": [1]}})
        self.assertEqual(self.handle("explained", None), {"got": None})
        self.assertEqual(self.handle("explained", b'{"sid":"\xff"}'), {"got": None})

    def test_refusal(self) -> None:
        """A refusal is acknowledged with its body."""
        self.assertEqual(self.handle("plain", b'{"sid":"taken"}'), {"error": "Taken"})
        self.assertEqual(self.database.notes[-1], ("rolled back",))

    def test_failure(self) -> None:
        """An unexpected error is acknowledged as declared, and logged without content."""
        self.assertEqual(self.handle("plain", b'{"sid":"fail"}'), {"ok": None})
        self.assertIn("Event plain", self.log_text())
        self.assertNotIn("secret", self.log_text())

    def test_nothing_declared(self) -> None:
        """Without a declared answer for it, a wrong or failing event is not acknowledged."""
        self.assertIs(self.handle("unprepared", b"{}"), NO_ANSWER)
        self.assertIs(self.handle("unprepared", b'{"sid":""}'), NO_ANSWER)

    def test_never_acknowledged(self) -> None:
        """An event without acknowledgement has none, whatever happens."""
        self.assertIs(self.handle("silent", b'{"sid":"s"}'), NO_ANSWER)
        self.assertIs(self.handle("silent", b"{}"), NO_ANSWER)

    def test_full_queue_closes_the_socket(self) -> None:
        """A sender that gets no acknowledgement learns from the close that nothing was done."""
        closed: list[bool] = []
        socket = SimpleNamespace(id="one", close=lambda: closed.append(True))
        self.successResultOf(self.handling("crowded", b'{"sid":"s"}', socket))
        self.assertEqual(closed, [True])
        self.assertEqual(self.log_text(), "")

    def test_overload_of_events(self) -> None:
        """A full queue is a failure to an event that is acknowledged; from any other its socket is closed."""
        for name, answer, closed in (("full", {"ok": None}, 0), ("full-silent", NO_ANSWER, 1)):
            calls: list[str] = []
            socket = SimpleNamespace(id="one", close=lambda calls=calls: calls.append("closed"))
            self.assertEqual(self.successResultOf(self.handling(name, None, socket)), answer)
            self.assertEqual(len(calls), closed)

    def test_data_nobody_asked_for(self) -> None:
        """An event that takes no data answers whatever comes with it (D-5)."""
        for data in (None, b"{}", b'"x"', b'{"a":"\xff"}'):
            self.assertEqual(self.handle("ping", data), {})

    def test_anything(self) -> None:
        """An event may take any JSON, and nothing at all."""
        self.assertEqual(self.handle("anything", b'"x"'), ["x"])
        self.assertEqual(self.handle("anything", None), [None])

    def test_serial(self) -> None:
        """Serial events of a socket take turns; those of another socket do not wait for them."""
        gate: Deferred[None] = Deferred()
        one = SimpleNamespace(id="one", begun=[], gate=gate)
        two = SimpleNamespace(id="two", begun=[], gate=gate)
        first = self.handling("queued", b'{"sid":"a","wait":true}', one)
        second = self.handling("queued", b'{"sid":"b"}', one)
        self.assertEqual(self.successResultOf(self.handling("queued", b'{"sid":"c"}', two)), "c")
        self.assertNoResult(second)
        gate.callback(None)
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), ("a", "b"))
        self.assertEqual(one.begun, ["a", "b"])

    def test_a_failed_turn_is_over(self) -> None:
        """A serial event that fails does not hold up the next one."""
        gate: Deferred[None] = Deferred()
        socket = SimpleNamespace(id="one", begun=[], gate=gate)
        first = self.handling("queued", b'{"sid":"a","wait":true}', socket)
        second = self.handling("queued", b'{"sid":"b"}', socket)
        gate.errback(RuntimeError("secret words"))
        self.assertIs(self.successResultOf(first), NO_ANSWER)
        self.assertEqual(self.successResultOf(second), "b")
