"""Pairing, from both sides, against a small counterpart in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import Clock

from happy.base.codecs import encode_base64
from happy.client import (
    ClientError,
    DeviceLinking,
    NotPending,
    Refused,
    RemoteServer,
    TerminalKeys,
    TerminalPairing,
    Undecryptable,
)
from tests.client.counterpart import SECRET, URL, Call, CounterpartCase, token_of
from tests.vectors import VECTORS


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
