"""What the declared endpoints say to requests that do not fit them, in the contract's words (http.md 3.4)."""

from __future__ import annotations

import pytest

from happy.capabilities import CAPABILITIES
from tests.toys import toy_server
from tests.web.talking import Served

OBJECT = "body/ Invalid input: expected object, received"
STRING = "Invalid input: expected string, received"
NUMBER = "Invalid input: expected number, received"
UUID = "6f2c5a1e-7b1d-4f3a-9c4e-2d8b6a5f4e3d"


@pytest.fixture(scope="module")
def served() -> Served:
    return Served(toy_server(), CAPABILITIES)


@pytest.mark.parametrize(
    ("method", "target", "body", "message"),
    [
        ("POST", "/v1/auth", "{}", f"body/publicKey {STRING} undefined, body/challenge {STRING} undefined, "
         f"body/signature {STRING} undefined"),
        ("POST", "/v1/sessions", None, f"{OBJECT} null"),
        ("POST", "/v1/sessions", "{}", f"body/tag {STRING} undefined, body/metadata {STRING} undefined"),
        ("POST", "/v1/sessions", '{"tag":null,"metadata":null}',
         f"body/tag {STRING} null, body/metadata {STRING} null"),
        ("POST", "/v1/sessions", '{"tag":"t","metadata":{},"agentState":5,"dataEncryptionKey":[]}',
         f"body/metadata {STRING} object, body/agentState {STRING} number, "
         f"body/dataEncryptionKey {STRING} array"),
        ("GET", "/v2/sessions?limit=0", None, "querystring/limit Too small: expected number to be >=1"),
        ("GET", "/v2/sessions?limit=", None, "querystring/limit Too small: expected number to be >=1"),
        ("GET", "/v2/sessions?limit=201", None, "querystring/limit Too big: expected number to be <=200"),
        ("GET", "/v2/sessions?limit=x", None, f"querystring/limit {NUMBER} NaN"),
        ("GET", "/v2/sessions?limit=1&limit=2", None, f"querystring/limit {NUMBER} NaN"),
        ("GET", "/v2/sessions?cursor=a&cursor=b", None, f"querystring/cursor {STRING} array"),
        ("GET", "/v2/sessions?changedSince=0", None,
         "querystring/changedSince Too small: expected number to be >0"),
        ("GET", "/v2/sessions?changedSince=1.5", None,
         "querystring/changedSince Invalid input: expected int, received number"),
        ("GET", "/v3/sessions/s/messages?after_seq=1&before_seq=2", None,
         "querystring/ after_seq and before_seq are mutually exclusive"),
        ("POST", "/v3/sessions/s/messages", "{}", "body/messages Invalid input: expected array, "
         "received undefined"),
        ("POST", "/v3/sessions/s/messages", '{"messages":[]}',
         "body/messages Too small: expected array to have >=1 items"),
        ("POST", "/v3/sessions/s/messages", '{"messages":[{"content":null,"localId":""}]}',
         f"body/messages/0/content {STRING} null, "
         "body/messages/0/localId Too small: expected string to have >=1 characters"),
        ("POST", "/v1/machines", '{"id":5,"metadata":null,"daemonState":{},"dataEncryptionKey":1}',
         f"body/id {STRING} number, body/metadata {STRING} null, body/daemonState {STRING} object, "
         f"body/dataEncryptionKey {STRING} number"),
        ("POST", "/v1/machines", '{"id":"m","metadata":"","daemonState":null}',
         f"body/daemonState {STRING} null"),
        ("POST", "/v1/artifacts", '{"id":"x","header":"","body":"","dataEncryptionKey":""}',
         "body/id Invalid UUID"),
        ("POST", f"/v1/artifacts/{UUID}", '{"header":null,"body":5,"expectedBodyVersion":"1"}',
         f"body/header {STRING} null, body/body {STRING} number, body/expectedBodyVersion {NUMBER} string"),
        ("POST", "/v1/kv", "{}", "body/mutations Invalid input: expected array, received undefined"),
        ("POST", "/v1/kv", '{"mutations":[]}', "body/mutations Too small: expected array to have >=1 items"),
        ("POST", "/v1/kv", '{"mutations":[{"key":"k","version":"1"}]}',
         f"body/mutations/0/value {STRING} undefined, body/mutations/0/version {NUMBER} string"),
        ("POST", "/v1/kv/bulk", '{"keys":[5]}', f"body/keys/0 {STRING} number"),
        ("POST", "/v1/account/settings", "{}",
         f"body/settings {STRING} undefined, body/expectedVersion {NUMBER} undefined"),
        ("POST", "/v1/account/settings", '{"settings":"","expectedVersion":-1}',
         "body/expectedVersion Too small: expected number to be >=0"),
        ("POST", "/v1/account/settings", '{"settings":"","expectedVersion":9007199254740993}',
         "body/expectedVersion Too big: expected int to be <=9007199254740991"),
        ("POST", "/v1/usage/query", None, f"{OBJECT} null"),
        ("POST", "/v1/usage/query", '{"groupBy":"week"}',
         'body/groupBy Invalid option: expected one of "hour"|"day"'),
        ("POST", "/v1/usage/query", '{"startTime":0}', "body/startTime Too small: expected number to be >0"),
        ("POST", "/v1/usage/query", '{"startTime":1.5,"endTime":"x","sessionId":5}',
         f"body/sessionId {STRING} number, "
         f"body/startTime Invalid input: expected int, received number, body/endTime {NUMBER} string"),
        ("POST", "/v1/connect/other/register", '{"token":5}',
         'params/vendor Invalid option: expected one of "openai"|"anthropic"|"gemini"'),
        ("POST", "/v1/connect/openai/register", "{}", f"body/token {STRING} undefined"),
        ("GET", "/v1/connect/github/token", None,
         'params/vendor Invalid option: expected one of "openai"|"anthropic"|"gemini"'),
        ("POST", "/v1/connect/github/webhook", "{}",
         f"headers/x-hub-signature-256 {STRING} undefined, headers/x-github-event {STRING} undefined"),
        ("POST", "/v1/sessions/s/push-event", '{"kind":"x","title":"","body":""}',
         'body/kind Invalid option: expected one of "done"|"permission"|"question", '
         "body/title Too small: expected string to have >=1 characters, "
         "body/body Too small: expected string to have >=1 characters"),
        ("POST", "/v1/sessions/s/attachments/request-upload", '{"size":10485761}',
         f"body/filename {STRING} undefined, body/size Too big: expected number to be <=10485760"),
        ("POST", "/v1/friends/add", "{}", f"body/uid {STRING} undefined"),
        ("GET", "/v1/user/search", None, f"querystring/query {STRING} undefined"),
        ("POST", "/v1/voice/conversations", '{"agentId":5}', f"body/agentId {STRING} number"),
    ],
)  # fmt: skip
def test_message(served: Served, method: str, target: str, body: str | None, message: str) -> None:
    """The problems of a request are named before anybody asks who sends it."""
    reply = served.ask(method, target, None if body is None else body.encode())
    assert reply.status == 400
    assert reply.json == {"error": "Error", "message": message, "statusCode": 400}


def test_stripped(served: Served) -> None:
    """Where the contract cuts an answer down, it is cut down."""
    reply = served.ask("POST", "/v1/sessions/s/attachments/request-download", b"{}")
    assert (reply.status, reply.json) == (400, {"error": "Error"})
    reply = served.ask("POST", "/v1/sessions/s/attachments/request-download", b"{")
    assert (reply.status, reply.json) == (400, {"error": "SyntaxError"})
    reply = served.ask("POST", "/v1/sessions/s/attachments/request-upload", content_length="99999999")
    assert (reply.status, reply.json) == (413, {"error": "FastifyError"})


OPEN = {
    ("GET", "/"),
    ("GET", "/.well-known/happy/asyncapi.json"),
    ("GET", "/.well-known/happy/openapi.json"),
    ("GET", "/.well-known/happy/ready"),
    ("GET", "/health"),
    ("GET", "/files/*"),
    ("POST", "/v1/auth"),
    ("POST", "/v1/auth/request"),
    ("GET", "/v1/auth/request/status"),
    ("POST", "/v1/auth/account/request"),
    ("GET", "/v1/connect/github/callback"),
    ("POST", "/v1/connect/github/webhook"),
    ("POST", "/v1/version"),
    ("POST", "/logs-combined-from-cli-and-mobile-for-simple-ai-debugging"),
}


def test_everything_else_needs_a_token() -> None:
    """The endpoints that are open to everybody are exactly the contract's."""
    declared = {
        (route.method, route.path)
        for capability in CAPABILITIES
        for route in capability.routes
        if route.public
    }
    assert declared == OPEN
