"""The client's requests and accounts, against a small counterpart in memory."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import Clock

from happy.base.codecs import decode_base64, encode_base64
from happy.client import (
    Account,
    DataKeyCipher,
    Refused,
    RemoteServer,
    TerminalKeys,
    Undecryptable,
    sign_in,
)
from happy.keys.tokens import verify_signature
from tests.client.counterpart import HANG, URL, Call, CounterpartCase, token_of


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


@pytest.mark.parametrize("url", ["http://happy.test", "http://happy.test/"])
def test_trailing_slash(url: str) -> None:
    """A trailing slash of the address does not matter."""
    assert RemoteServer(url, Clock()).url == "http://happy.test"
