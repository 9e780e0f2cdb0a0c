"""A deployment of the original server is taken over: its people go on as if nothing had happened.

The database, the secret and the answers are those of a real one (``tests/vectors/takeover.*``).
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from happy.client import Account, AccountKeys, Scope, sign_in
from tests.harness import cluster, restore
from tests.live.case import LiveCase
from tests.service.test_takeover import data, schema

VECTORS = Path(__file__).parents[1] / "vectors"
RECORDED = json.loads((VECTORS / "takeover.json").read_text())
DUMP = gzip.decompress((VECTORS / "takeover.sql.gz").read_bytes()).decode()


def active_when_recorded() -> set[str]:
    """The sessions that an inactivity sweep will have touched."""
    lists = [read["body"]["sessions"] for read in RECORDED["reads"] if read["path"] == "/v1/sessions"]
    return {session["id"] for sessions in lists for session in sessions if session["active"]}


SWEPT = active_when_recorded()


def lasting(value: Any) -> Any:
    """A value without what the clock decides; sessions in the order of their ids."""
    if isinstance(value, list):
        items = [lasting(item) for item in value]
        return sorted(items, key=lambda item: item["id"]) if _are_sessions(items) else items
    if not isinstance(value, dict):
        return value
    passing = {"timestamp"} if "connectedServices" in value else set()
    passing |= {"active", "updatedAt"} if value.get("id") in SWEPT else set()
    return {name: lasting(inner) for name, inner in value.items() if name not in passing}


def _are_sessions(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, dict) and "agentStateVersion" in item for item in items)


class TakeoverTests(LiveCase):
    """The whole server on the original's database, with the original's secret."""

    fresh = True
    secret = RECORDED["masterSecret"]

    def _database_url(self) -> str:
        dsn = cluster().create(migrated=False)
        self.addCleanup(cluster().drop, dsn)
        restore(dsn, DUMP)
        self.schema, self.rows = schema(dsn), set(data(dsn))
        return dsn

    def bearer(self, name: str) -> Account:
        """An account with the token that the original issued."""
        known = RECORDED["accounts"][name]
        return Account(self.server, known["token"], AccountKeys(bytes.fromhex(known["seed"])))

    async def test_reads(self) -> None:
        """Everything that the original answered is answered alike, with the tokens that it issued."""
        self.assertEqual(len(RECORDED["reads"]), 46)
        for read in RECORDED["reads"]:
            answer = await self.bearer(read["account"]).request("GET", read["path"])
            what = f"{read['account']} {read['path']}"
            self.assertEqual(answer.status, read["status"], what)
            if read["path"] == "/v2/sessions/active":
                self.assertEqual(answer.json().keys(), read["body"].keys())
            else:
                self.assertEqual(lasting(answer.json()), lasting(read["body"]), what)

    async def test_logins(self) -> None:
        """The keys lead to the accounts that they led to, and tokens of ours are as good as the old ones."""
        for name, known in RECORDED["accounts"].items():
            account = await sign_in(self.server, AccountKeys(bytes.fromhex(known["seed"])))
            self.assertEqual(account.id, self.bearer(name).id)
            self.assertNotEqual(account.token, known["token"])
            profile = await account.call("GET", "/v1/account/profile")
            self.assertEqual(profile["id"], self.bearer(name).id)

    async def test_life_goes_on(self) -> None:
        """Numbers go on where the original stopped, and what was stored is found by its local id."""
        ada = self.bearer("ada")
        path = next(read["path"] for read in RECORDED["reads"] if "/v3/" in read["path"]).partition("?")[0]
        session = path.split("/")[3]
        watching = await self.connect(ada)
        terminal = await self.connect(ada, Scope.session(session))
        stored = (await ada.call("GET", f"{path}?limit=500"))["messages"]
        known = next(message["localId"] for message in stored if message["localId"])
        sent = {"messages": [{"content": "c2VhbGVk", "localId": local} for local in (known, "a new one")]}
        receipts = (await ada.call("POST", path, sent))["messages"]
        self.assertEqual([receipt["seq"] for receipt in receipts][-1], len(stored) + 1)
        for socket in (watching, terminal):
            body = (await socket.next_update("new-message"))["body"]
            self.assertEqual((body["sid"], body["message"]["seq"]), (session, len(stored) + 1))

    async def test_the_way_back_is_open(self) -> None:
        """After a life with us the original finds every table, column, type and row as it knows them."""
        ada = self.bearer("ada")
        await ada.call("GET", "/v1/sessions")
        await ada.call("POST", "/v1/sessions", {"tag": "ours", "metadata": "m"})
        await self.running.stop()
        self.assertEqual([thing for thing in schema(self.dsn) if not thing.startswith("happy_")], self.schema)
        changed = self.rows - set(data(self.dsn))
        tables = {line.split()[2] for line in changed}
        self.assertLessEqual(tables, {'public."Account"', 'public."Session"'})
        self.assertLessEqual(len(changed), 1 + len(SWEPT))
