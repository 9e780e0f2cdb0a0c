"""The client's requests, accounts and pairing, against a small counterpart in memory."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from happy.base.codecs import decode_base64, encode_base64, encode_base64url
from happy.client import (
    Account,
    AccountKeys,
    ClientError,
    DataKeyCipher,
    DeviceLinking,
    NotPending,
    Refused,
    RemoteServer,
    TerminalKeys,
    TerminalPairing,
    Undecryptable,
    sign_in,
)
from happy.keys.tokens import verify_signature
from tests.vectors import VECTORS

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


def session_record(body: dict[str, Any], **stored: Any) -> dict[str, Any]:
    """A session that the counterpart made of a request."""
    return {
        "id": "s/1",
        "seq": 0,
        "createdAt": 1,
        "updatedAt": 2,
        "active": True,
        "activeAt": 3,
        "metadata": body["metadata"],
        "metadataVersion": 0,
        "agentState": None,
        "agentStateVersion": 0,
        "dataEncryptionKey": body["dataEncryptionKey"],
        "lastMessage": None,
        **stored,
    }


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


class RequestTests(CounterpartCase):
    """Requests of any kind."""

    def test_what_is_sent(self) -> None:
        """A request carries its JSON, its parameters, who asks, and with what right."""
        self.on("POST /x", lambda call: (200, {"ok": True}))
        answer = self.run_now(
            self.account.request(
                "POST", "/x", {"a": "ü"}, params={"q": "a+b/=", "n": 1}, headers={"x-a": "b"}
            )
        )
        assert (answer.status, answer.ok, answer.json(), answer.text) == (
            200,
            True,
            {"ok": True},
            '{"ok":true}',
        )
        (call,) = self.counterpart.calls
        assert call.json == {"a": "ü"}
        assert call.query == {"q": "a+b/=", "n": "1"}
        expected = {
            "authorization": "Bearer T",
            "content-type": "application/json",
            "x-happy-client": "test/1",
            "x-a": "b",
        }
        assert call.headers | expected == call.headers

    def test_without_body_and_token(self) -> None:
        """Without JSON there is no content type, and without a token no authorization."""
        self.run_now(self.server.request("GET", "/x"))
        (call,) = self.counterpart.calls
        assert call.raw == b""
        assert not {"authorization", "content-type"} & set(call.headers)

    def test_null_is_json(self) -> None:
        """None as JSON is null, not the absence of a body."""
        self.run_now(self.server.request("POST", "/x", None))
        assert self.counterpart.calls[0].raw == b"null"

    def test_refusals(self) -> None:
        """Another status than 2xx is raised with the answer's JSON, or its text."""
        error = self.fail_now(self.account.call("GET", "/x"), Refused)
        assert (error.status, error.body) == (404, {"error": "Not found"})
        self.on("GET /x", lambda call: (502, b"<html>"))
        assert self.fail_now(self.account.call("GET", "/x"), Refused).body == "<html>"

    def test_redirects_are_answers(self) -> None:
        """A redirect is returned, not followed."""
        self.on("GET /x", lambda call: (302, b""))
        assert self.run_now(self.server.request("GET", "/x")).status == 302

    def test_timeout(self) -> None:
        """A request that is not answered fails in time."""
        self.on("GET /x", lambda call: HANG)
        waiting = Deferred.fromCoroutine(self.server.request("GET", "/x"))
        self.clock.advance(29)
        self.assertNoResult(waiting)
        self.clock.advance(1)
        self.failureResultOf(waiting, TimeoutError)
        self.agent.flush()


class AccountTests(CounterpartCase):
    """What an account does."""

    def test_sign_in(self) -> None:
        """Signing in proves the possession of the key; the token tells the account."""

        def authenticate(call: Call) -> tuple[int, Any]:
            key, challenge, signature = (
                decode_base64(call.json[name]) for name in ("publicKey", "challenge", "signature")
            )
            valid = key == self.keys.public_key and verify_signature(key, challenge, signature)
            return (200, {"success": True, "token": token_of("acc")}) if valid else (401, {})

        self.on("POST /v1/auth", authenticate)
        account = self.run_now(sign_in(self.server, self.keys))
        assert (account.id, account.keys) == ("acc", self.keys)

    def test_new_session(self) -> None:
        """A session is sealed with the device's cipher, and its key wrapped for the account."""
        self.on("POST /v1/sessions", lambda call: (200, {"session": session_record(call.json)}))
        terminal = Account(self.server, "T", TerminalKeys(self.keys.content_public_key))
        for device in (self.account, terminal):
            session = self.run_now(device.create_session("tag", {"path": "/"}))
            body = self.counterpart.calls[-1].json
            assert self.keys.cipher_of(body["dataEncryptionKey"]).open(body["metadata"]) == {"path": "/"}
            assert session.metadata == {"path": "/"}
            assert session.agent_state is None

    def test_session_that_existed(self) -> None:
        """The stored key wins: the holder of the secret uses it, and a terminal cannot."""
        stored = DataKeyCipher.generate()
        record = {
            "metadata": stored.seal("old"),
            "dataEncryptionKey": stored.wrapped_for(self.keys.content_public_key),
        }
        self.on("POST /v1/sessions", lambda call: (200, {"session": session_record(record)}))
        assert self.run_now(self.account.create_session("tag", "new")).metadata == "old"
        terminal = Account(self.server, "T", TerminalKeys(self.keys.content_public_key))
        self.fail_now(terminal.create_session("tag", "new"), Undecryptable)

    def test_listing_skips_what_the_keys_do_not_open(self) -> None:
        """A list has the records whose key can be found."""
        legacy = session_record({"metadata": self.keys.new_cipher().seal(1), "dataEncryptionKey": None})
        foreign = session_record({"metadata": "x", "dataEncryptionKey": encode_base64(bytes(105))})
        self.on("GET /v1/sessions", lambda call: (200, {"sessions": [foreign, legacy]}))
        assert [session.metadata for session in self.run_now(self.account.sessions())] == [1]

    def test_messages(self) -> None:
        """Messages are sealed one by one, named uniquely unless named by the caller, and open again."""
        session = self.new_session()
        path = "/v3/sessions/s%2F1/messages"
        times = {"createdAt": 1, "updatedAt": 1}

        def store(call: Call) -> tuple[int, Any]:
            stored = [
                {"id": f"m{n}", "seq": n, "localId": item["localId"], **times}
                for n, item in enumerate(call.json["messages"])
            ]
            return 200, {"messages": stored}

        self.on(f"POST {path}", store)
        receipts = self.run_now(self.account.send_messages(session, ["a", "b"]))
        assert len({receipt.local_id for receipt in receipts}) == 2
        (one,) = self.run_now(self.account.send_messages(session, ["c"], local_ids=["mine"]))
        assert one.local_id == "mine"
        content = {"t": "encrypted", "c": self.counterpart.calls[-1].json["messages"][0]["content"]}
        found = {"id": "m", "seq": 7, "content": content, "localId": None, **times}
        self.on(f"GET {path}", lambda call: (200, {"messages": [found], "hasMore": True}))
        page = self.run_now(self.account.messages(session, after=6, limit=1))
        assert self.counterpart.calls[-1].query == {"after_seq": "6", "limit": "1"}
        assert ([(message.seq, message.value) for message in page.messages], page.more) == ([(7, "c")], True)

    def new_session(self) -> Any:
        self.on("POST /v1/sessions", lambda call: (200, {"session": session_record(call.json)}))
        return self.run_now(self.account.create_session("tag", {}))

    def test_attachments(self) -> None:
        """Attachments travel sealed, and the token only goes to the server's own addresses."""
        session = self.new_session()
        base = "/v1/sessions/s%2F1/attachments"
        blobs: dict[str, bytes] = {}
        for host, token in ((URL, "Bearer T"), ("http://elsewhere.test", None)):
            ticket = {"ref": "r", "uploadUrl": f"{host}/blob", "method": "PUT"}
            self.on(f"POST {base}/request-upload", self.always(ticket))
            self.on("PUT /blob", lambda call: (200, blobs.update(blob=call.raw)))
            assert self.run_now(self.account.upload(session, b"\x89PNG")) == "r"
            assert self.counterpart.calls[-1].headers.get("authorization") == token
            assert self.counterpart.calls[-2].json["size"] == len(blobs["blob"])
            self.on(
                f"POST {base}/request-download",
                self.always({"downloadUrl": f"{host}/blob"}),
            )
            self.on("GET /blob", lambda call: (200, blobs["blob"]))
            assert self.run_now(self.account.download(session, "r")) == b"\x89PNG"
            assert self.counterpart.calls[-1].headers.get("authorization") == token
        self.on("PUT /blob", lambda call: (413, {"error": "too large"}))
        assert self.fail_now(self.account.upload(session, b""), Refused).status == 413

    def test_upload_to_an_object_store(self) -> None:
        """Where a form is asked for, the sealed file follows the given fields."""
        session = self.new_session()
        ticket = {"ref": "r", "uploadUrl": "http://s3.test/b", "method": "POST", "formFields": {"key": "k"}}
        self.on("POST /v1/sessions/s%2F1/attachments/request-upload", lambda call: (200, ticket))
        self.on("POST /b", lambda call: (204, b""))
        assert self.run_now(self.account.upload(session, b"data")) == "r"
        call = self.counterpart.calls[-1]
        assert call.headers["content-type"].startswith("multipart/form-data")
        assert "authorization" not in call.headers
        assert call.args[b"key"] == [b"k"]
        assert session.cipher.open_blob(call.args[b"file"][0]) == b"data"
        assert call.raw.index(b'name="key"') < call.raw.index(b'name="file"')


class Rendezvous:
    """The pairing endpoints of a server, as far as clients see them."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def install(self, case: CounterpartCase) -> None:
        for kind in ("", "account/"):
            case.on(f"POST /v1/auth/{kind}request", self.request)
            case.on(f"POST /v1/auth/{kind}response", self.respond)
        case.on("GET /v1/auth/request/status", self.status)

    def request(self, call: Call) -> tuple[int, Any]:
        row = self.rows.setdefault(call.json["publicKey"], dict(call.json))
        if "response" not in row:
            return 200, {"state": "requested"}
        return 200, {"state": "authorized", "token": token_of("acc"), "response": row["response"]}

    def respond(self, call: Call) -> tuple[int, Any]:
        assert call.headers["authorization"] == "Bearer T"
        row = self.rows.get(call.json["publicKey"])
        if row is None:
            return 404, {"error": "Request not found"}
        row.setdefault("response", call.json["response"])
        return 200, {"success": True}

    def status(self, call: Call) -> tuple[int, Any]:
        row = self.rows.get(call.query["publicKey"])
        if row is None:
            return 200, {"status": "not_found", "supportsV2": False}
        state = "authorized" if "response" in row else "pending"
        return 200, {"status": state, "supportsV2": state == "pending" and row["supportsV2"]}


class PairingTests(CounterpartCase):
    """Pairing from both sides."""

    def setUp(self) -> None:
        super().setUp()
        self.rendezvous = Rendezvous()
        self.rendezvous.install(self)

    def test_terminal_in_the_new_format(self) -> None:
        """A terminal that understands it learns the content key only."""
        pairing = TerminalPairing(self.server)
        assert self.run_now(pairing.poll()) is None
        self.run_now(self.account.approve_terminal(pairing.public_key))
        terminal = self.run_now(pairing.poll())
        assert terminal.id == "acc"
        assert isinstance(terminal.keys, TerminalKeys)
        assert terminal.keys.content_public_key == self.keys.content_public_key
        self.fail_now(terminal.approve_account(bytes(32)), ClientError)

    def test_terminal_in_the_old_format(self) -> None:
        """An old terminal gets the account secret, as does one that is approved by an old app."""
        for pairing, v2 in (
            (TerminalPairing(self.server, v2=False), None),
            (TerminalPairing(self.server), False),
        ):
            assert self.run_now(pairing.poll()) is None
            self.run_now(self.account.approve_terminal(pairing.public_key, v2=v2))
            assert self.run_now(pairing.poll()).keys.secret == SECRET

    def test_approving_what_is_not_pending(self) -> None:
        """A terminal that does not ask, or was let in already, is not approved."""
        pairing = TerminalPairing(self.server)
        approve = self.account.approve_terminal
        assert self.fail_now(approve(pairing.public_key), NotPending).status == "not_found"
        self.run_now(pairing.poll())
        self.run_now(approve(pairing.public_key))
        assert self.fail_now(approve(pairing.public_key), NotPending).status == "authorized"

    def test_another_device(self) -> None:
        """A linked device learns the account secret."""
        linking = DeviceLinking(self.server)
        assert self.run_now(linking.poll()) is None
        self.run_now(self.account.approve_account(linking.public_key))
        device = self.run_now(linking.poll())
        assert device.keys.secret == SECRET

    def test_waiting(self) -> None:
        """Asking goes on once per second until the approval comes."""
        pairing = TerminalPairing(self.server)
        waiting = Deferred.fromCoroutine(pairing.wait())
        self.clock.pump([1, 1])
        self.assertNoResult(waiting)
        assert len(self.counterpart.calls) == 3
        self.run_now(self.account.approve_terminal(pairing.public_key))
        self.clock.advance(1)
        assert self.successResultOf(waiting).id == "acc"

    def test_waiting_in_vain(self) -> None:
        """Asking ends in time, or with the first answer that is an error."""
        waiting = Deferred.fromCoroutine(TerminalPairing(self.server).wait(timeout=2))
        self.clock.pump([1, 1])
        self.failureResultOf(waiting, TimeoutError)
        self.on("POST /v1/auth/request", lambda call: (500, {}))
        self.fail_now(TerminalPairing(self.server).wait(), Refused)

    def test_senseless_approvals(self) -> None:
        """A response that is not for this key, or holds no key, is reported."""
        pairing = TerminalPairing(self.server)
        for response in ("*", encode_base64(bytes(105))):
            self.rendezvous.rows[encode_base64(pairing.public_key)] = {"response": response}
            self.fail_now(pairing.poll(), Undecryptable)


def test_links() -> None:
    """The links for QR codes are those of the vectors."""
    vector = VECTORS["client"]["pairing"]["cli_style"]
    server = RemoteServer(URL, Clock())
    terminal = TerminalPairing(server, secret=bytes.fromhex(vector["ephemeral_secret_hex"]))
    assert terminal.link == vector["qr_terminal"]
    assert encode_base64(terminal.public_key) == vector["request_public_key_b64"]
    app = VECTORS["client"]["pairing"]["app_style"]
    assert DeviceLinking(server, bytes.fromhex(app["secret_hex"])).link == app["qr_account"]


@pytest.mark.parametrize("url", ["http://happy.test", "http://happy.test/"])
def test_trailing_slash(url: str) -> None:
    """A trailing slash of the address does not matter."""
    assert RemoteServer(url, Clock()).url == "http://happy.test"
