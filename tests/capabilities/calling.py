"""Calling endpoints and events as clients do, with messages and presence, and reading what clients hear.

Presence and object storage only take notes here, in the order of the calls, in ``self.notes``.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import msgspec
from twisted.internet import reactor

from happy.api.declare import Caller
from happy.api.pipeline import NO_ANSWER, call_event
from happy.api.portions import in_portions, is_large
from happy.capabilities import CAPABILITIES
from happy.realtime.committer import Committer
from tests.capabilities import asking


class Notes(list[tuple[Any, ...]]):
    """Stands for presence and for object storage: every call becomes a note."""

    async def stop_session(self, account: str, session: str) -> None:
        self.append(("stop", account, session))

    async def resume_session(self, account: str, session: str) -> None:
        self.append(("resume", account, session))

    def forget_machine(self, machine: str) -> None:
        self.append(("forget", machine))

    def remove_session(self, session: str, *, owner: str) -> None:
        self.append(("remove", session))


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    body: Any


class CallingCase(asking.CapabilityCase):
    """Tests that call endpoints with :meth:`request` and events with :meth:`emit`."""

    async def setUp(self) -> None:
        await super().setUp()
        self.notes = Notes()
        self.committer = Committer(
            cast(Any, reactor), self.database, cast(Any, self.hub), self.server.metrics
        )
        self.committer.start()
        self.addCleanup(self.committer.stop)
        notes = cast(Any, self.notes)
        self.change(committer=self.committer, presence=notes, objects=notes)

    async def request(self, account: str, method: str, target: str, body: Any = None) -> Reply:
        """Ask as an account; ``body`` is a JSON value."""
        answer = await self.ask(method, target, body, account=account)
        return Reply(answer.status, answer.json)

    async def get(self, account: str, target: str) -> Any:
        """The body of a GET that succeeds."""
        status, body = await self.request(account, "GET", target)
        self.assertEqual(status, 200, body)
        return body

    async def post(self, account: str, target: str, body: Any) -> Any:
        """The body of a POST that succeeds."""
        status, answer = await self.request(account, "POST", target, body)
        self.assertEqual(status, 200, answer)
        return answer

    async def emit(self, account: str, name: str, data: Any, socket: Any = None) -> Any:
        """Send an event and answer its acknowledgement as a plain value; None if there is none."""
        event = next(
            event for capability in CAPABILITIES for event in capability.events if event.name == name
        )
        raw = msgspec.Raw(json.dumps(data).encode())
        sender = socket or SimpleNamespace(id="a socket")
        answer = await call_event(self.server, event, Caller(account), sender, raw)
        if is_large(answer):
            return json.loads(b"".join(in_portions(answer)))
        return None if answer is NO_ANSWER else msgspec.to_builtins(answer)

    async def open_session(self, account: str, tag: str = "tag") -> str:
        """The id of a session, which is made if there is none with the tag."""
        answer = await self.post(account, "/v1/sessions", {"tag": tag, "metadata": "meta"})
        return str(answer["session"]["id"])

    async def register_machine(self, account: str, machine: str) -> str:
        """The id of a machine, which is made if there is none."""
        await self.post(account, "/v1/machines", {"id": machine, "metadata": "meta"})
        return machine

    def heard(self, account: str) -> list[Any]:
        """The bodies of the account's updates that were not asked for yet."""
        mine = [update for update in self.hub.updates if update.audience.account == account]
        self.hub.updates = [update for update in self.hub.updates if update.audience.account != account]
        return [json.loads(msgspec.json.encode(update.body)) for update in mine]

    def signalled(self, account: str) -> list[Any]:
        """The bodies of the account's passing signals so far."""
        bodies = [body for audience, body in self.hub.signals if audience.account == account]
        return [json.loads(msgspec.json.encode(body)) for body in bodies]
