"""What one account has is nothing to another one, which knows all of its ids."""

from __future__ import annotations

import json
from typing import Any

from happy.api.declare import Event, Route
from happy.capabilities import CAPABILITIES
from happy.client import Account, Scope, Socket
from happy.realtime import calls
from tests.harness import psql
from tests.live.case import LiveCase

OWNED, OTHER = "b3duZWQ=", "b3RoZXI="
"""What the owner's things hold, and the stranger's."""

ARTIFACT = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
FOR_OTHERS = ("/v1/user/", "/v1/friends/", "/v1/push-tokens")
"""Anybody may look at a known account's profile and ask it to be a friend; a device is its last user's."""

ROUTES = [
    route
    for capability in CAPABILITIES
    for route in capability.routes
    if not route.public and not route.path.startswith(FOR_OTHERS)
]
EVENTS = [event for capability in CAPABILITIES for event in capability.events]

ROWS = """
SELECT 'Account', "xmin"::text, "id" FROM "Account" WHERE "id" = %(account)s
UNION ALL SELECT 'SessionMessage', "xmin"::text, "id" FROM "SessionMessage" WHERE "sessionId" = %(session)s
""" + "".join(
    f'UNION ALL SELECT \'{table}\', "xmin"::text, "id" FROM "{table}" WHERE "accountId" = %(account)s\n'
    for table in (
        *("Session", "Machine", "Artifact", "AccessKey", "UserKVStore", "UsageReport"),
        *("AccountPushToken", "ServiceAccountToken"),
    )
)
"""Each row of an account, with the transaction that wrote it."""


class StrangersTests(LiveCase):
    """An owner with one of everything, whose clients listen, and a stranger."""

    async def setUp(self) -> None:
        for wait in ("GRACE_SECONDS", "WITHDRAWN_SECONDS"):
            self.patch(calls, wait, 0.1)  # for a method that nobody offers
        await super().setUp()
        self.owner, self.stranger = await self.new_phone(), await self.new_phone()
        self.ids = {"machineId": "the machine", "artifactId": ARTIFACT, "key": "the key", "vendor": "openai"}
        opened = await self.owner.call("POST", "/v1/sessions", {"tag": "t", "metadata": OWNED})
        self.ids["sessionId"] = self.ids["sid"] = opened["session"]["id"]
        self.ids["attachmentFile"] = (await self._upload()).rpartition("/")[2]
        await self._make_things(self.owner)
        scopes = Scope.user(), Scope.session(self.ids["sid"]), Scope.machine(self.ids["machineId"])
        self.devices = [await self.connect(self.owner, scope) for scope in scopes]
        await self.devices[0].register("method", lambda params: OWNED)
        self.heard: list[Any] = []
        await self._settle()

    async def _make_things(self, account: Account) -> None:
        for method, path in (
            *(("POST", "/v1/machines"), ("POST", "/v1/artifacts"), ("POST", "/v1/kv")),
            *(("POST", "/v1/access-keys/:sessionId/:machineId"), ("POST", "/v1/connect/:vendor/register")),
            *(("POST", "/v3/sessions/:sessionId/messages"), ("POST", "/v1/account/settings")),
        ):
            await account.call(method, self._filled(path), self._body(path, OWNED))

    async def _upload(self) -> str:
        path = f"/v1/sessions/{self.ids['sid']}/attachments/request-upload"
        wish = await self.owner.call("POST", path, {"filename": "f", "size": 9})
        target = "/" + wish["uploadUrl"].split("/", 3)[3]
        headers = {"content-type": "application/octet-stream"}
        await self.owner.call("PUT", target, content=OWNED.encode(), headers=headers)
        return str(wish["ref"])

    def _filled(self, path: str) -> str:
        """A path with the owner's ids for its variables."""
        named = {**self.ids, "id": ARTIFACT if "artifacts" in path else "the machine"}
        return "/".join(named[part[1:]] if part[:1] == ":" else part for part in path.split("/"))

    def _body(self, path: str, content: str) -> dict[str, Any]:
        """What any endpoint or event may ask for, about the owner's things."""
        sealed = ("header", "body", "dataEncryptionKey", "metadata", "token", "settings", "message", "data")
        body: dict[str, Any] = self.ids | dict.fromkeys(sealed, content)
        body |= dict.fromkeys(("expectedVersion", "expectedHeaderVersion", "expectedBodyVersion", "time"), 1)
        body |= dict.fromkeys(("filename", "title", "agentState", "daemonState", "params", "tag"), "t")
        body |= {"id": ARTIFACT if "artifact" in path else "the machine", "method": "method", "size": 9}
        body |= {"messages": [{"localId": "l", "content": content}], "keys": ["the key"], "kind": "done"}
        body |= {"mutations": [{"key": "the key", "value": content, "version": -1}]}
        body |= {"tokens": {"total": 1}, "cost": {"total": 1}}
        body["ref"] = f"sessions/{self.ids['sid']}/attachments/{self.ids['attachmentFile']}"
        if "settings" in path:
            body["expectedVersion"] = 0
        if "artifact-update" in path:
            body["header"] = body["body"] = {"data": content, "expectedVersion": 1}
        return body | ({"data": {}} if "push-event" in path else {})

    async def _settle(self) -> None:
        """Let the owner's clients hear what is on its way to them; from then on it counts."""
        for device in self.devices:
            await device.call("ping")
        for device in self.devices:
            for name in ("update", "ephemeral", "rpc-request"):
                device.on(name, lambda *told: self.heard.append(told))

    def rows(self) -> list[Any]:
        """What the owner has."""
        values: Any = {"account": self.owner.id, "session": self.ids["sid"]}
        return sorted(psql(self.dsn, ROWS, values))

    async def _ask(self, route: Route) -> str:
        body = self._body(route.path, OTHER)
        options: dict[str, Any] = {} if route.method in ("GET", "DELETE") else {"json": body}
        answer = await self.stranger.request(route.method, self._filled(route.path), **options)
        return f"{route.method} {route.path}: {answer.status} {answer.text}"

    async def _say(self, socket: Socket, event: Event) -> str:
        body = self._body(event.name, OTHER)
        if not event.acks:
            socket.emit(event.name, body)
        answer = await socket.call(event.name if event.acks else "ping", body)
        return f"{event.name}: {json.dumps(answer)}"

    async def test_requests_and_events(self) -> None:
        """No answer has anything of the owner's, nothing of that changes, and its clients hear of nothing."""
        before = self.rows()
        self.assertEqual(len({table for table, _, _ in before}), 8)
        told = [await self._ask(route) for route in ROUTES]
        for scope in (Scope.user(), Scope.session(self.ids["sid"]), Scope.machine(self.ids["machineId"])):
            socket = await self.connect(self.stranger, scope)
            told += [await self._say(socket, event) for event in EVENTS]
        self.assertEqual([answer for answer in told if OWNED in answer], [])
        self.assertEqual(self.rows(), before)
        for device in self.devices:
            await device.call("ping")
        self.assertEqual((self.heard, self.complaints), ([], []))
