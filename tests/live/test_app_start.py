"""What the apps and the control program do first, which they repeat for ever when it fails (http.md 13)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.utils import getProcessOutputAndValue

from happy.client import Account, DeviceLinking, RpcFailed, Scope, Session, Socket
from happy.realtime import calls
from tests.contract.checking import Contract
from tests.harness import psql
from tests.live.case import LiveCase
from tests.nodejs import node, node_folder

WIRE = "@slopus/happy-wire@0.1.0"
PEERS = Path(__file__).parent / "peers"

JSON = {"content-type": "application/json"}

START: list[tuple[str, str, Any]] = [
    ("GET", "/v1/account/profile", None),
    ("GET", "/v1/account/settings", None),
    ("GET", "/v1/sessions", None),
    ("GET", "/v2/sessions", None),
    ("GET", "/v2/sessions/active", None),
    ("GET", "/v1/machines", None),
    ("GET", "/v1/artifacts", None),
    ("GET", "/v1/feed", None),
    ("GET", "/v1/friends", None),
    ("GET", "/v1/kv", None),
    ("GET", "/v1/push-tokens", None),
    ("GET", "/v1/connect/tokens", None),
    ("POST", "/v1/push-tokens", {"token": "ExponentPushToken[1]"}),
    ("POST", "/v1/usage/query", {"groupBy": "day"}),
    ("POST", "/v1/version", {"platform": "ios", "version": "1.5.0", "app_id": "app"}),
]

PUBLISHED = {"new-message", "update-session", "update-machine"}
"""The updates that the published schemas describe."""

LINK = """
INSERT INTO "GithubUser" ("id", "profile", "createdAt", "updatedAt")
VALUES (%s, %s::jsonb, now(), now())
"""
OWN = """
UPDATE "Account" SET "githubUserId" = %s, "username" = %s, "avatar" = %s::jsonb WHERE "id" = %s
"""
PROFILE = {
    "id": 7,
    "login": "octo",
    "name": None,
    "email": None,
    "avatar_url": "https://x.test/a",
    "bio": "b",
}
AVATAR = {"path": "public/a.png", "width": 1, "height": 1, "thumbhash": "aGFzaA=="}


class StartCase(LiveCase):
    """Accounts with nothing, and with some of everything."""

    fresh = True

    async def setUp(self) -> None:
        await super().setUp()
        folder = "/.well-known/happy"
        openapi = await self.server.call("GET", f"{folder}/openapi.json")
        self.contract = Contract(openapi, await self.server.call("GET", f"{folder}/asyncapi.json"))

    async def ask(self, account: Account, method: str, path: str, body: Any = None) -> Any:
        """The body of a successful answer, which the contract must name."""
        content = None if body is None else json.dumps(body).encode()
        answer = await account.request(method, path, content=content, headers=JSON)
        self.assertEqual(answer.status, 200, (method, path, answer.text))
        self.contract.check_answer(method, path, answer.status, answer.json())
        return answer.json()

    async def start(self, account: Account) -> dict[str, Any]:
        """Everything that the app loads, by path."""
        return {path: await self.ask(account, method, path, body) for method, path, body in START}

    async def fill(self, account: Account) -> None:
        """Give an account some of everything."""
        call = account.call
        session = await account.create_session("tag", {"path": "/"})
        await account.register_machine("machine", {"host": "h"}, {"status": "running"})
        await account.send_messages(session, ["one", "two"], ["1", "2"])
        socket = await self.connect(account)
        report = {"sessionId": session.id, "tokens": {"total": 5}, "cost": {"total": 0.25}}
        self.assertTrue((await socket.call("usage-report", {"key": "k", **report}))["success"])
        uuid = "00000000-0000-4000-8000-000000000001"
        part = {"header": "aGk=", "body": "aGk=", "dataEncryptionKey": "aGk="}
        await call("POST", "/v1/artifacts", {"id": uuid, **part})
        await call("POST", "/v1/kv", {"mutations": [{"key": "a", "value": "aGk=", "version": -1}]})
        await call("POST", "/v1/account/settings", {"settings": "sealed", "expectedVersion": 0})
        await call("POST", "/v1/connect/openai/register", {"token": "{}"})
        other = await self.new_phone()
        await other.call("POST", "/v1/friends/add", {"uid": account.id})
        psql(self.dsn, LINK, ("7", json.dumps(PROFILE)))
        psql(self.dsn, OWN, ("7", "octo", json.dumps(AVATAR), account.id))


class AppTests(StartCase):
    """The mobile and the web app."""

    async def test_fresh_account(self) -> None:
        """A new account has nothing, and every list says so with a success."""
        loaded = await self.start(await self.new_phone())
        self.assertEqual(loaded["/v1/sessions"], {"sessions": []})
        self.assertEqual(loaded["/v1/machines"], [])
        self.assertEqual(loaded["/v1/usage/query"]["usage"], [])

    async def test_full_account(self) -> None:
        """An account with some of everything gets all of it, as the contract describes it."""
        phone = await self.new_phone()
        await self.fill(phone)
        loaded = await self.start(phone)
        profile = loaded["/v1/account/profile"]
        shown = {name: value for name, value in PROFILE.items() if name != "email"}
        self.assertEqual(profile["github"], {**shown, "name": "octo"})
        self.assertTrue(profile["avatar"].pop("url").endswith("/files/public/a.png"))
        self.assertEqual(profile["avatar"], AVATAR)
        self.assertEqual(profile["connectedServices"], ["openai"])
        self.assertEqual(loaded["/v1/account/settings"], {"settings": "sealed", "settingsVersion": 1})
        lengths = {
            "sessions": loaded["/v1/sessions"]["sessions"],
            "active": loaded["/v2/sessions/active"]["sessions"],
            "machines": loaded["/v1/machines"],
            "artifacts": loaded["/v1/artifacts"],
            "feed": loaded["/v1/feed"]["items"],
            "friends": loaded["/v1/friends"]["friends"],
            "values": loaded["/v1/kv"]["items"],
            "tokens": loaded["/v1/connect/tokens"]["tokens"],
            "usage": loaded["/v1/usage/query"]["usage"],
        }
        self.assertEqual({name: len(found) for name, found in lengths.items()}, dict.fromkeys(lengths, 1))

    async def test_opening_a_chat(self) -> None:
        """The app reads a chat from its end."""
        phone = await self.new_phone()
        session = await phone.create_session("tag", {})
        await phone.send_messages(session, ["one", "two", "three"], ["1", "2", "3"])
        template, path = "/v3/sessions/{sessionId}/messages", f"/v3/sessions/{session.id}/messages"
        answer = await phone.request("GET", f"{path}?before_seq=2147483647&limit=2", headers=JSON)
        page = answer.json()
        self.contract.check_answer("GET", template, answer.status, page)
        self.assertEqual(([one["seq"] for one in page["messages"]], page["hasMore"]), ([3, 2], True))
        older = await phone.call("GET", f"{path}?before_seq=2&limit=100")
        self.assertEqual(([one["seq"] for one in older["messages"]], older["hasMore"]), ([1], False))

    async def test_no_body(self) -> None:
        """Calls without a body succeed, whatever they say about its type."""
        phone = await self.new_phone()
        session = await phone.create_session("tag", {})
        for headers in ({}, JSON):
            archived = await phone.request("POST", f"/v1/sessions/{session.id}/archive", headers=headers)
            self.assertEqual(archived.status, 200)
        forgotten = await phone.request("DELETE", "/v1/push-tokens/ExponentPushToken%5B1%5D", headers=JSON)
        self.assertEqual(forgotten.status, 200)

    async def lively(self) -> Socket:
        """A socket that heard of everything."""
        phone = await self.new_phone()
        socket = await self.connect(phone)
        await self.fill(phone)
        session = (await phone.sessions())[0]
        change = {"sid": session.id, "metadata": "new", "expectedVersion": 0}
        self.contract.check_event("update-metadata.reply", await socket.call("update-metadata", change))
        await socket.call("ping")
        return socket

    async def test_events(self) -> None:
        """What sockets hear of all this is as the contract describes it."""
        socket = await self.lively()
        updates = socket.untaken("update")
        for update in updates:
            self.contract.check_event("update", update)
        self.assertEqual(len({update["body"]["t"] for update in updates}), 10)
        for ephemeral in socket.untaken("ephemeral"):
            self.contract.check_event("ephemeral", ephemeral)

    async def test_published_schemas(self) -> None:
        """Updates are as the clients' makers describe them."""
        folder = node_folder(WIRE)
        updates = (await self.lively()).untaken("update")
        described = [update for update in updates if update["body"]["t"] in PUBLISHED]
        self.assertEqual({update["body"]["t"] for update in described}, PUBLISHED)
        arguments = [str(PEERS / "published.mjs"), str(folder), json.dumps(described)]
        output, errors, status = await getProcessOutputAndValue(node(), arguments)
        self.assertEqual((status, errors), (0, b""))
        self.assertEqual(json.loads(output), [True] * len(described))


class TokenOnly(Scope):
    """The auth object of a client that says nothing about itself."""

    def auth(self, token: str | None) -> dict[str, Any]:
        return {"token": token}


class ControlCase(StartCase):
    """The control program (realtime.md C.4)."""

    async def control(self) -> tuple[Account, Account]:
        """A phone, and a control program that it let in."""
        phone = await self.new_phone()
        linking = DeviceLinking(self.remote(client="cli-control-plane/0.1.0"))
        assert await linking.poll() is None
        await phone.approve_account(linking.public_key)
        control = await linking.poll()
        assert control is not None
        return phone, control


class ControlTests(ControlCase):
    """What it does."""

    async def test_lists(self) -> None:
        """It lists sessions and machines, and reads a history."""
        phone, control = await self.control()
        await self.fill(phone)
        for path in ("/v1/sessions", "/v2/sessions/active", "/v1/machines"):
            await self.ask(control, "GET", path)
        (session,) = await control.sessions()
        latest = await control.call("GET", f"/v1/sessions/{session.id}/messages")
        self.contract.check_answer("GET", "/v1/sessions/{sessionId}/messages", 200, latest)
        self.assertEqual([message["seq"] for message in latest["messages"]], [2, 1])

    async def test_session(self) -> None:
        """It makes a session, watches it, speaks in it without expecting an answer, and ends it."""
        phone, control = await self.control()
        session = await control.create_session("made by control", {"path": "/"})
        app = await self.connect(phone)
        terminal = await self.connect(phone, Scope.session(session.id))
        watcher = await self.connect(control, Scope.session(session.id))
        watcher.emit("message", {"sid": session.id, "message": session.cipher.seal("hello")})
        for socket in (terminal, app):
            self.assertEqual(await self.said(socket, session), "hello")
        watcher.emit("session-end", {"sid": session.id, "time": 2**53})
        activity = await app.next_ephemeral("activity")
        self.assertEqual((activity["id"], activity["active"]), (session.id, False))
        self.assertEqual(watcher.untaken("update"), [])

    async def said(self, socket: Socket, session: Session) -> Any:
        update = await socket.next_update("new-message")
        return session.cipher.open(update["body"]["message"]["content"]["c"])

    async def test_machine(self) -> None:
        """With nothing but its token it calls a machine, whose answer it gets."""
        phone, control = await self.control()
        daemon = await self.connect(phone, Scope.machine("machine"))
        await daemon.register("machine:stop-daemon", lambda params: {"got": params})
        caller = await self.connect(control, TokenOnly("", {}))
        self.assertEqual(await caller.rpc("machine:stop-daemon", [1]), {"got": [1]})


class OfflineTests(ControlCase):
    """A server on which nobody waits long for a machine."""

    async def setUp(self) -> None:
        self.patch(calls, "GRACE_SECONDS", 0.0)
        await super().setUp()

    async def test_offline_machine(self) -> None:
        """A machine that is not there is reported in the words that the program knows."""
        _, control = await self.control()
        caller = await self.connect(control, TokenOnly("", {}))
        with self.assertRaises(RpcFailed) as failed:
            await caller.rpc("machine:stop-daemon")
        self.assertEqual(failed.exception.args, ("RPC method not available",))
