"""Login and pairing through the pipeline, on a real database."""

from __future__ import annotations

import json
import os
import time
from typing import Any
from urllib.parse import quote

from nacl.signing import SigningKey
from twisted.internet.defer import Deferred, gatherResults

from happy.api.rate_limits import Limits
from happy.base.codecs import decode_base64, decode_base64url, encode_base64, encode_hex
from happy.storage import auth_requests
from tests.capabilities.asking import Answered, CapabilityCase
from tests.harness import psql

MINUTE = 60_000


def signed(key: SigningKey, challenge: bytes = b"challenge") -> dict[str, str]:
    """The body of a login."""
    return {
        "publicKey": encode_base64(bytes(key.verify_key)),
        "challenge": encode_base64(challenge),
        "signature": encode_base64(key.sign(challenge).signature),
    }


def claims(token: str) -> Any:
    """What a token says."""
    return json.loads(decode_base64url(token.split(".")[1]))


class LoginTests(CapabilityCase):
    """POST /v1/auth."""

    async def log_in(self, body: Any, **request: Any) -> Answered:
        return await self.ask("POST", "/v1/auth", body, **request)

    async def test_makes_an_account_once(self) -> None:
        """The first login makes the account under its upper-case key; later ones find it."""
        key = SigningKey.generate()
        first, second = [(await self.log_in(signed(key))).json for _ in range(2)]
        self.assertEqual(first["success"], True)
        self.assertEqual(claims(first["token"])["sub"], claims(second["token"])["sub"])
        rows = psql(
            self.dsn, 'SELECT "id" FROM "Account" WHERE "publicKey" = %s', [encode_hex(bytes(key.verify_key))]
        )
        self.assertEqual(rows, [(claims(first["token"])["sub"],)])

    async def test_racing_first_logins(self) -> None:
        """Logins of a new key at the same time all lead to the same account (D1)."""
        key = SigningKey.generate()
        logins = [Deferred.fromCoroutine(self.log_in(signed(key))) for _ in range(5)]
        answers = await gatherResults(logins)
        self.assertEqual(len({claims(answer.json["token"])["sub"] for answer in answers}), 1)

    async def test_refuses_wrong_signatures(self) -> None:
        """Whatever is wrong with key or signature, the answer is one 401 (D9), and no account is made."""
        good = signed(SigningKey.generate())
        wrong = [
            {**good, "signature": encode_base64(b"s" * 64)},
            {**good, "signature": encode_base64(b"s" * 63)},
            {**good, "signature": ""},
            {**good, "publicKey": encode_base64(b"k" * 31)},
            {**good, "publicKey": "!!!!"},
            {**good, "challenge": "__--"},
        ]
        before = psql(self.dsn, 'SELECT count(*) FROM "Account"')
        for body in wrong:
            answer = await self.log_in(body)
            self.assertEqual((answer.status, answer.json), (401, {"error": "Invalid signature"}))
        self.assertEqual(psql(self.dsn, 'SELECT count(*) FROM "Account"'), before)

    async def test_limits_an_address(self) -> None:
        """An address that used up its minute is refused at every open endpoint; others are not."""
        self.change(limits=Limits.per_minute(lambda: 0.0, addresses=2, logins=0))
        body = signed(SigningKey.generate())
        statuses = [(await self.log_in(body)).status for _ in range(3)]
        self.assertEqual(statuses, [200, 200, 429])
        polled = await self.ask("POST", "/v1/auth/request", {"publicKey": encode_base64(b"k" * 32)})
        self.assertEqual(polled.status, 429)
        self.assertEqual((await self.log_in(body, address="192.0.2.2")).status, 200)

    async def test_limits_a_key(self) -> None:
        """A key may log in so often a minute; requests it did not sign do not count."""
        self.change(limits=Limits.per_minute(lambda: 0.0, addresses=0, logins=1))
        body = signed(SigningKey.generate())
        forged = {**body, "signature": encode_base64(b"s" * 64)}
        statuses = [(await self.log_in(one)).status for one in (forged, forged, body, body)]
        self.assertEqual(statuses, [401, 401, 200, 429])


class PairingTests(CapabilityCase):
    """The two kinds of pairing."""

    async def setUp(self) -> None:
        await super().setUp()
        self.key = encode_base64(os.urandom(32))
        self.account = await self.new_account()

    async def poll(self, path: str = "/v1/auth/request", **more: Any) -> Any:
        return (await self.ask("POST", path, {"publicKey": self.key, **more})).json

    async def approve(
        self, path: str = "/v1/auth/response", response: str = "sealed", **caller: Any
    ) -> Answered:
        body = {"publicKey": self.key, "response": response}
        return await self.ask("POST", path, body, **{"account": self.account, **caller})

    async def status(self) -> Any:
        return (await self.ask("GET", f"/v1/auth/request/status?publicKey={quote(self.key, '')}")).json

    def age(self, minutes: float, table: str = "TerminalAuthRequest") -> None:
        """Let time pass for every request."""
        psql(
            self.dsn,
            f'UPDATE "{table}" SET "updatedAt" = "updatedAt" - %s * interval \'1 minute\'',
            [minutes],
        )

    async def test_terminal_story(self) -> None:
        """A terminal asks, is seen, is approved, and gets tokens that name its request."""
        self.assertEqual(await self.status(), {"status": "not_found", "supportsV2": False})
        self.assertEqual(await self.poll(supportsV2=True), {"state": "requested"})
        self.assertEqual(await self.status(), {"status": "pending", "supportsV2": True})
        self.assertEqual((await self.approve()).json, {"success": True})
        self.assertEqual(await self.status(), {"status": "authorized", "supportsV2": False})
        first, second = await self.poll(), await self.poll()
        self.assertEqual((first["state"], first["response"]), ("authorized", "sealed"))
        self.assertEqual(self.server.tokens.verify(first["token"]), self.account)
        self.assertNotEqual(first["token"], second["token"])
        self.assertEqual(claims(first["token"])["session"], claims(second["token"])["session"])

    async def test_clock_put_back(self) -> None:
        """A request goes on when the clock is put back, noted from then on by the new time."""
        await self.poll()
        back = lambda: time.time() - 3600  # noqa: E731
        self.change(now=back)
        self.patch(self.database, "_now", back)
        self.assertEqual(await self.poll(), {"state": "requested"})
        sql = 'SELECT extract(epoch FROM "updatedAt") FROM "TerminalAuthRequest" WHERE "publicKey" = %s'
        [(noted,)] = psql(self.dsn, sql, [encode_hex(decode_base64(self.key))])
        self.assertLess(noted, time.time() - 1800)
        self.assertEqual((await self.approve()).json, {"success": True})

    async def test_device_story(self) -> None:
        """A further device gets a token without a claim of its own."""
        path = "/v1/auth/account"
        self.assertEqual(await self.poll(f"{path}/request"), {"state": "requested"})
        self.assertEqual((await self.approve(f"{path}/response")).status, 200)
        answer = await self.poll(f"{path}/request")
        self.assertEqual(self.server.tokens.verify(answer["token"]), self.account)
        self.assertNotIn("session", claims(answer["token"]))

    async def test_the_flag_counts_once(self) -> None:
        """Only the poll that makes the request sets the format flag."""
        await self.poll(supportsV2=None)
        await self.poll(supportsV2=True)
        self.assertEqual(await self.status(), {"status": "pending", "supportsV2": False})

    async def test_first_approval_wins(self) -> None:
        """Of approvals at the same time one wins as a whole, and all succeed (D17)."""
        await self.poll()
        others = [await self.new_account() for _ in range(4)]
        approvals = [
            Deferred.fromCoroutine(self.approve(response=f"by {one}", account=one)) for one in others
        ]
        answers = await gatherResults(approvals)
        self.assertEqual({answer.status for answer in answers}, {200})
        answer = await self.poll()
        winner = self.server.tokens.verify(answer["token"])
        self.assertEqual(answer["response"], f"by {winner}")

    async def test_an_empty_response_is_none(self) -> None:
        """An empty response leaves the request waiting for a real one."""
        await self.poll()
        self.assertEqual((await self.approve(response="")).status, 200)
        self.assertEqual(await self.poll(), {"state": "requested"})
        await self.approve()
        self.assertEqual((await self.poll())["state"], "authorized")

    async def test_who_answered_has_the_pairing(self) -> None:
        """A terminal is among the devices of whoever let it in, not of whoever answered nothing before."""
        await self.poll()
        await self.approve(response="", account=await self.new_account())
        await self.approve()
        pairing = claims((await self.poll())["token"])["session"]
        rows = psql(self.dsn, 'SELECT "accountId" FROM "happy_pairings" WHERE "id" = %s', [pairing])
        self.assertEqual(rows, [(self.account,)])

    async def test_racing_first_polls(self) -> None:
        """Polls of a new key at the same time make one request (D1)."""
        polls = [Deferred.fromCoroutine(self.poll()) for _ in range(5)]
        self.assertEqual(await gatherResults(polls), [{"state": "requested"}] * 5)

    async def test_refuses_wrong_keys(self) -> None:
        """Keys that are no keys are refused alike everywhere, whatever is wrong with them (D9)."""
        for key in ("", encode_base64(b"k" * 31), encode_base64(b"k" * 33), "?bad?", "====="):
            self.key = key
            for path in ("/v1/auth/request", "/v1/auth/account/request"):
                self.assertEqual(await self.poll(path), {"error": "Invalid public key"})
            for path in ("/v1/auth/response", "/v1/auth/account/response"):
                answer = await self.approve(path)
                self.assertEqual((answer.status, answer.json), (401, {"error": "Invalid public key"}))
            self.assertEqual(await self.status(), {"status": "not_found", "supportsV2": False})

    async def test_nothing_to_approve(self) -> None:
        """An approval needs a request of its own kind."""
        await self.poll()
        answer = await self.approve("/v1/auth/account/response")
        self.assertEqual((answer.status, answer.json), (404, {"error": "Request not found"}))

    async def test_approval_expires(self) -> None:
        """Five minutes after the approval the request is unknown, and polling begins anew (D8)."""
        await self.poll()
        await self.approve()
        self.age(4.9)
        self.assertEqual((await self.poll())["state"], "authorized")
        self.age(0.2)
        self.assertEqual(await self.status(), {"status": "not_found", "supportsV2": False})
        self.assertEqual((await self.approve()).status, 404)
        self.assertEqual(await self.poll(supportsV2=True), {"state": "requested"})
        self.assertEqual(await self.status(), {"status": "pending", "supportsV2": True})

    async def test_polling_keeps_a_request_alive(self) -> None:
        """A request lives for half an hour after the latest poll (D8)."""
        await self.poll()
        for _ in range(3):
            self.age(29)
            await self.poll()
        self.assertEqual((await self.status())["status"], "pending")
        self.age(30.1)
        self.assertEqual((await self.approve()).status, 404)

    async def test_a_new_request_is_another_one(self) -> None:
        """The token of a request made anew does not name the dead one."""
        await self.poll()
        await self.approve()
        first = claims((await self.poll())["token"])
        self.age(6)
        await self.poll()
        await self.approve()
        self.assertNotEqual(claims((await self.poll())["token"])["session"], first["session"])

    async def test_purge(self) -> None:
        """Dead requests of both kinds are deleted, living ones stay."""
        psql(self.dsn, 'TRUNCATE "TerminalAuthRequest", "AccountAuthRequest"')
        await self.poll()
        await self.poll("/v1/auth/account/request")
        self.age(31)
        self.age(31, "AccountAuthRequest")
        self.key = encode_base64(os.urandom(32))
        await self.poll()
        self.assertEqual(await self.database.transact(auth_requests.purge), (2, 2))
        self.assertEqual((await self.status())["status"], "pending")

    async def test_a_vanished_account_cannot_approve(self) -> None:
        """An approval in the name of an account without a row fails, and the request stays open."""
        await self.poll()
        self.assertEqual((await self.approve(account="nobody")).status, 500)
        self.assertEqual((await self.status())["status"], "pending")
