"""Endpoints asked through the real route table and pipeline, on a real database and a real folder.

Only the transport is left out: what a request holds goes in as values, and the answer comes back as one.
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import Any
from urllib.parse import urlsplit

from twisted.internet import reactor
from twisted.internet.task import Clock

from happy.api.answers import Answer, Pieces
from happy.api.declare import RequestFacts
from happy.api.payload import Payload, payload_of
from happy.api.pipeline import Inputs, call_route
from happy.api.rate_limits import Limits
from happy.api.structs import Blob
from happy.base.bounds import Budget
from happy.base.pace import Pace
from happy.base.threads import Threads
from happy.capabilities import CAPABILITIES
from happy.capabilities.server import Server
from happy.keys.tokens import Keys, Tokens
from happy.keys.vault import Vault
from happy.logs.events import Events
from happy.metrics import Metrics
from happy.outbound.folder import Folder
from happy.settings.config import Config
from happy.storage.transaction import Transaction
from happy.storage.types import Millis
from happy.web.routes import RouteTable
from happy.web.shares import Processor
from tests.harness import DatabaseCase, RecordingPublisher

BASE = "http://happy.test"
KEYS = Keys(bearer_seed=b"b" * 32, state_seed=b"s" * 32, vault_master=b"v" * 64)

NEW_SESSION = """
INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "createdAt", "updatedAt")
VALUES (%s, %s, %s, 'm', %s, %s)
"""


@dataclass(frozen=True)
class Answered:
    """An answer taken apart; ``content`` of a blob is what the file holds."""

    status: int
    content: bytes
    content_type: str | None
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class ListeningPublisher(RecordingPublisher):
    """A publisher that stands for the hub; ``viewers`` are the accounts that look at a client."""

    def __init__(self) -> None:
        super().__init__()
        self.viewers: set[str] = set()

    def acquainted(self, account: str) -> None:
        """There are no other nodes."""

    def viewing(self, account: str) -> bool:
        return account in self.viewers


class CapabilityCase(DatabaseCase):
    """Tests that ask ``self.server`` with :meth:`ask`."""

    config = Config()
    server: Server

    async def setUp(self) -> None:
        await super().setUp()
        self.hub = ListeningPublisher()
        self.database._publisher = self.hub
        self.folder = Path(tempfile.mkdtemp(prefix="happy-files-"))
        self.addCleanup(rmtree, self.folder)
        objects = Folder(self.folder, f"{BASE}/files/", Threads(reactor), reactor)
        await objects.start()
        self.addCleanup(objects.stop)
        parts: dict[str, Any] = {
            "config": self.config,
            "clock": reactor,
            "now": time.time,
            "limits": Limits.per_minute(time.monotonic, addresses=0, logins=0),
            "memory": Budget(2**30),
            "pace": Pace(reactor),
            "metrics": Metrics(),
            "events": Events(Clock()),
            "database": self.database,
            "tokens": Tokens(KEYS, time.time),
            "vault": Vault(KEYS.vault_master),
            "hub": self.hub,
            "objects": objects,
        }
        absent = dict.fromkeys(
            (
                *("calls", "committer", "documents", "expo", "files", "github", "pages", "presence"),
                *("readiness", "voice"),
            )
        )
        self.server = Server(**absent, **parts)

    def change(self, **parts: Any) -> None:
        """Put other parts into the server."""
        self.server = replace(self.server, **parts)

    async def new_session(self, account: str, name: str = "tag") -> str:
        """The id of a new session of the account."""
        session = f"s-{account}-{name}"

        async def insert(tx: Transaction) -> None:
            now = Millis(tx.now)
            await tx.run(NEW_SESSION, (session, account, name, now, now))

        await self.database.transact(insert)
        return session

    async def ask(
        self,
        method: str,
        target: str,
        json: Any = None,
        *,
        account: str | None = None,
        token: str | None = None,
        content: bytes | None = None,
        content_type: str | None = "application/json",
        address: str = "192.0.2.1",
        headers: Mapping[str, str] | None = None,
    ) -> Answered:
        """Send a request, as ``account`` or with ``token`` if given; ``json`` is the body, or ``content``."""
        parts = urlsplit(target)
        enabled = [capability for capability in CAPABILITIES if capability.enabled(self.server.config)]
        table = RouteTable(route for capability in enabled for route in capability.routes)
        match = table.match(method, parts.path.encode())
        if match is None:
            return Answered(404, b"", None, {})
        body = _encode(json) if content is None else content
        given = dict(headers or {})
        if account is not None:
            given["authorization"] = f"Bearer {self.server.tokens.issue(account)}"
        if token is not None:
            given["authorization"] = f"Bearer {token}"
        inputs = Inputs(
            variables=match.variables,
            query=parts.query.encode(),
            header=given.get,
            payload=lambda: payload_of(method, content_type, len(body), io.BytesIO(body)),
            in_turns=Processor(self.server.clock).open("asker").in_turns,
            facts=lambda payload: _facts(payload, address),
        )
        return await self.taken_apart(await call_route(self.server, match.route, inputs))

    async def taken_apart(self, answer: Answer) -> Answered:
        """An answer with all that is read of it."""
        content = answer.content
        if isinstance(content, Blob):
            assert content.path is not None
            content = content.path.read_bytes()
        elif not isinstance(content, bytes):
            content = b"".join([piece async for piece in self.pieces(content)])
        return Answered(answer.status, content, answer.content_type, answer.headers)

    async def pieces(self, content: Pieces) -> AsyncIterator[bytes]:
        """The pieces of an answer, one by one, each of which counts at least until the next one is read."""
        holding = self.server.memory.open(f"account:{self}", Surprised())
        try:
            while piece := await content.read(holding):
                assert holding.size >= len(piece)
                yield piece
                holding.give_back(len(piece))
        finally:
            content.close()
            holding.close()


def _encode(body: Any) -> bytes:
    return b"" if body is None else json.dumps(body).encode()


def _facts(payload: Payload, address: str) -> RequestFacts:
    return RequestFacts(base_url=BASE, address=address, raw=payload.raw, header=lambda name: None)


class Surprised:
    """Holds something that nobody takes away."""

    def give_up(self) -> None:
        raise AssertionError("somebody else needs the room")
