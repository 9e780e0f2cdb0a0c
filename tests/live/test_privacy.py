"""What a running server writes down about the people who use it: nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from happy.client import AccountKeys, RemoteServer, Scope, SocketRefused, open_socket, sign_in
from happy.codecs import decode_base64, encode_base64, encode_hex
from tests.live.serving import Served

MARK = "z4Qm0rVt7xJp"
"""Part of every text that a client sends here and nobody may keep in a log."""


class PrivacyTests(TestCase):
    """The logs after a lively time, with good and bad requests of every kind."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    async def test_logs_are_silent(self) -> None:
        """No token, key, signature, content, body, query or address is in any log."""
        served = Served(self.folder, "--metrics-enabled=false")
        await served.start()
        server = RemoteServer(served.url, reactor, client=f"ios/{MARK}")
        try:
            said = await self.use(server)
            said |= await self.abuse(server)
            said |= await self.use(server)
        finally:
            await server.close()
            status = await served.stop()
        self.assertEqual(status, 0)
        self.assertNotIn(b"Stopping goes on without", served.log)
        log = served.log + (self.folder / "data" / "postgres.log").read_bytes()
        self.assertIn(b"Ready after", log)
        for text in {MARK, "127.0.0.1", *said}:
            self.assertNotIn(text.encode(), log, log.decode(errors="replace"))

    async def use(self, server: RemoteServer) -> set[str]:
        """Do what clients do; what of it must not be found."""
        keys = AccountKeys.generate()
        account = await sign_in(server, keys)
        session = await account.create_session(MARK, {"path": MARK})
        socket = await account.open_socket()
        terminal = await account.open_socket(Scope.session(session.id))
        sealed = session.cipher.seal(MARK)
        await account.send_messages(session, [MARK], [f"{MARK}-1"])
        terminal.emit("message", {"sid": session.id, "message": sealed, "localId": f"{MARK}-2"})
        await socket.next_update("new-message")
        await account.upload(session, MARK.encode())
        await account.call("POST", "/v1/push-tokens", {"token": MARK})
        await account.call("POST", "/v1/connect/openai/register", {"token": MARK})
        await account.call("POST", "/v1/account/settings", {"settings": MARK, "expectedVersion": 0})
        await account.register_machine(f"{MARK}-{account.id}", {"host": MARK})
        await terminal.close()
        socket.abort()
        login = keys.login()
        return {account.token, account.token.split(".")[1], sealed, *login.values(), *hexes(login)}

    async def abuse(self, server: RemoteServer) -> set[str]:
        """Do what clients should not do."""
        account = await sign_in(server, AccountKeys.generate())
        forged = account.token[:-6] + MARK[:6]
        for body in (b'{"tag": "' + MARK.encode(), b'["' + MARK.encode() + b'"]', b"\xff" + MARK.encode()):
            await account.request(
                "POST", "/v1/sessions", content=body, headers={"content-type": "application/json"}
            )
        for text in (f"{MARK}\0", MARK * 20_000):
            await account.request("POST", "/v1/sessions", {"tag": text, "metadata": text})
            await account.request("POST", "/v1/push-tokens", {"token": text})
        await account.request("GET", f"/v1/{MARK}", params={"q": MARK}, headers={"x-more": MARK})
        await account.request("GET", f"/v3/sessions/{MARK}/messages", params={"after_seq": MARK})
        await account.request("PUT", f"/v1/sessions/{MARK}/attachments/{MARK}.enc", content=MARK.encode())
        await server.request("GET", "/v1/sessions", token=forged)
        await server.request("POST", "/v1/auth", dict.fromkeys(("publicKey", "challenge", "signature"), MARK))
        for token in (forged, MARK):
            with self.assertRaises(SocketRefused):
                await open_socket(server, token, Scope.user())
        socket = await account.open_socket()
        for name in ("message", "update-metadata", "rpc-call", "usage-report", "session-alive", MARK):
            for argument in (MARK, {"sid": MARK, "message": f"{MARK}\0", "method": MARK}, [MARK]):
                socket.emit(name, argument)
        await socket.call("ping")
        socket.abort()
        return {forged, account.token}


def hexes(login: dict[str, Any]) -> set[str]:
    """The forms in which a public key is stored."""

    raw = decode_base64(login["publicKey"])
    return {encode_hex(raw), encode_hex(raw).lower(), encode_base64(raw)}
