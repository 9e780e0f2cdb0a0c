"""From requests to answers: the order of checks, transactions, and what becomes of errors (http.md 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import psycopg2

from happy.api.structs import Blob
from happy.base.errors import AccountVanished, DatabaseDown, Overloaded
from tests.api.toyshop import (
    GOOD,
    JSON,
    TOKEN,
    PipelineCase,
)


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
        self.assertIn("toyshop.py", self.log_text())
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

    def test_outage(self) -> None:
        """While PostgreSQL is away: later, unless the contract has other words for a failure there."""
        self.failing_with(DatabaseDown())
        self.assertEqual(self.asked("POST", "/broken", b"{}")[0], 503)
        self.assertEqual(self.asked("POST", "/broken/own", b"{}")[0], 500)

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
