"""Sessions over HTTP and sockets (http.md 6.3, realtime.md B.6)."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from happy.service.leftovers import Leftovers
from happy.settings.config import Config
from happy.storage import removal
from happy.storage.retention import REMOVED
from tests.capabilities.calling import CallingCase
from tests.harness import psql


class OpeningTests(CallingCase):
    async def test_new(self) -> None:
        """A new tag makes an active session at number 0, without the agent state that was sent."""
        account = await self.new_account()
        body = {"tag": "t", "metadata": "m", "agentState": "ignored", "dataEncryptionKey": "-_8"}
        session = (await self.post(account, "/v1/sessions", body))["session"]
        times = {session.pop(name) for name in ("activeAt", "createdAt", "updatedAt")}
        identity = session.pop("id")
        self.assertEqual(len(times), 1)
        self.assertEqual(
            session,
            {
                "seq": 0,
                "metadata": "m",
                "metadataVersion": 0,
                "agentState": None,
                "agentStateVersion": 0,
                "dataEncryptionKey": "+/8=",
                "active": True,
                "lastMessage": None,
            },
        )
        moment = times.pop()
        del session["lastMessage"]
        announced = {"t": "new-session", "id": identity, **session}
        announced |= dict.fromkeys(("activeAt", "createdAt", "updatedAt"), moment)
        self.assertEqual(self.heard(account), [announced])
        self.assertEqual(self.notes, [])

    async def test_known_tag(self) -> None:
        """A known tag answers with the stored session, lifts its stop window and announces nothing."""
        account = await self.new_account()
        first = await self.post(account, "/v1/sessions", {"tag": "t", "metadata": "m"})
        self.heard(account)
        body = {"tag": "t", "metadata": "other \0", "dataEncryptionKey": "AAEC"}
        self.assertEqual(await self.post(account, "/v1/sessions", body), first)
        self.assertEqual(self.heard(account), [])
        self.assertEqual(self.notes, [("resume", account, first["session"]["id"])])

    async def test_empty_key(self) -> None:
        """An empty key is no key."""
        account = await self.new_account()
        body = {"tag": "", "metadata": "", "dataEncryptionKey": ""}
        answer = await self.post(account, "/v1/sessions", body)
        self.assertIsNone(answer["session"]["dataEncryptionKey"])

    async def test_race(self) -> None:
        """Simultaneous openings of one tag all get the one session (D1)."""
        account = await self.new_account()
        openings = [Deferred.fromCoroutine(self.open_session(account, "raced")) for _ in range(5)]
        self.assertEqual(len(set(await gatherResults(openings))), 1)
        self.assertEqual([body["t"] for body in self.heard(account)], ["new-session"])

    async def test_vanished_account(self) -> None:
        """The token of a vanished account reads empty lists and cannot open anything."""
        answer = await self.request("nobody", "POST", "/v1/sessions", {"tag": "t", "metadata": "m"})
        self.assertEqual(answer.status, 500)
        self.assertEqual(await self.get("nobody", "/v1/sessions"), {"sessions": []})


class QuotaTests(CallingCase):
    async def test_too_many(self) -> None:
        """One more session than the operator lets an account have is refused; known tags are not."""
        account = await self.new_account()
        self.server = replace(self.server, config=Config(account_sessions=1))
        session = await self.open_session(account, "one")
        body = {"tag": "two", "metadata": "m"}
        refused = await self.request(account, "POST", "/v1/sessions", body)
        self.assertEqual(refused, (403, {"error": "This account has as many sessions as it may have"}))
        self.assertEqual(await self.open_session(account, "one"), session)


class ListTests(CallingCase):
    def _touch(self, session: str, column: str, moment: str) -> None:
        psql(self.dsn, f'UPDATE "Session" SET "{column}" = %s WHERE "id" = %s', (moment, session))

    async def test_last_changed_first(self) -> None:
        """The first version of the list is ordered by the last change, and knows only own sessions."""
        account, stranger = await self.new_account(), await self.new_account()
        one, two = await self.open_session(account, "one"), await self.open_session(account, "two")
        await self.open_session(stranger)
        self._touch(two, "updatedAt", "2020-01-01")
        listed = (await self.get(account, "/v1/sessions"))["sessions"]
        self.assertEqual([session["id"] for session in listed], [one, two])
        self.assertIsNone(listed[0]["lastMessage"])

    async def test_at_most_150(self) -> None:
        """The first version of the list ends after 150 sessions."""
        account = await self.new_account()
        psql(
            self.dsn,
            'INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "updatedAt") '
            "SELECT %s || n, %s, n::text, '', now() FROM generate_series(1, 151) AS n",
            (account, account),
        )
        self.assertEqual(len((await self.get(account, "/v1/sessions"))["sessions"]), 150)

    async def test_pages(self) -> None:
        """Pages follow each other by descending id, and the last one has no cursor."""
        account = await self.new_account()
        made = [await self.open_session(account, str(n)) for n in range(5)]
        seen, cursor = [], ""
        for more in (True, True, False):
            page = await self.get(account, f"/v2/sessions?limit=2&cursor={cursor}")
            seen += [session["id"] for session in page["sessions"]]
            self.assertEqual(page["hasNext"], more)
            self.assertEqual(page["nextCursor"], f"cursor_v1_{seen[-1]}" if more else None)
            cursor = page["nextCursor"]
        self.assertEqual(seen, made[::-1])
        self.assertNotIn("lastMessage", page["sessions"][0])

    async def test_cursors(self) -> None:
        """A cursor without an id is the first page, any other text is refused."""
        account = await self.new_account()
        session = await self.open_session(account)
        page = await self.get(account, "/v2/sessions?cursor=cursor_v1_")
        self.assertEqual([found["id"] for found in page["sessions"]], [session])
        for cursor in (session, "cursor_v2_x"):
            answer = await self.request(account, "GET", f"/v2/sessions?cursor={cursor}")
            self.assertEqual(answer, (400, {"error": "Invalid cursor format"}))

    async def test_changed_since(self) -> None:
        """Only sessions changed later are listed; moments far beyond every date find nothing (D21)."""
        account = await self.new_account()
        old, new = await self.open_session(account, "old"), await self.open_session(account, "new")
        self._touch(old, "updatedAt", "2020-01-01 00:00:00.001")
        listed = await self.get(account, "/v2/sessions?changedSince=1577836800001")
        self.assertEqual([session["id"] for session in listed["sessions"]], [new])
        listed = await self.get(account, f"/v2/sessions?changedSince=1577836800000&cursor=cursor_v1_{new}")
        self.assertEqual([session["id"] for session in listed["sessions"]], [old])
        listed = await self.get(account, "/v2/sessions?changedSince=9007199254740991")
        self.assertEqual(listed["sessions"], [])
        for bad in ("0", "-5", "1.5", "x"):
            answer = await self.request(account, "GET", f"/v2/sessions?changedSince={bad}")
            self.assertEqual(answer.status, 400)

    async def test_active(self) -> None:
        """Active sessions of the last quarter of an hour are listed, the latest sign of life first."""
        account = await self.new_account()
        one, two, old, ended = [await self.open_session(account, tag) for tag in ("1", "2", "old", "ended")]
        shift = """UPDATE "Session" SET "lastActiveAt" = "lastActiveAt" - %s::interval WHERE "id" = %s"""
        for session, age in ((one, "14 min"), (two, "13 min"), (old, "16 min")):
            psql(self.dsn, shift, (age, session))
        psql(self.dsn, 'UPDATE "Session" SET "active" = false WHERE "id" = %s', (ended,))
        listed = await self.get(account, "/v2/sessions/active")
        self.assertEqual([session["id"] for session in listed["sessions"]], [two, one])
        listed = await self.get(account, "/v2/sessions/active?limit=1")
        self.assertEqual([session["id"] for session in listed["sessions"]], [two])

    async def test_waits_for_deliveries(self) -> None:
        """A list that shows a message's number comes after the message was delivered (D-3)."""
        account = await self.new_account()
        session = await self.open_session(account)
        for target in ("/v1/sessions", "/v2/sessions", "/v2/sessions/active"):
            settling: Deferred[None] = Deferred()
            with mock.patch.object(self.committer, "settled", return_value=settling):
                answer = Deferred.fromCoroutine(self.get(account, target))
                await self.database.ping()
                await self.database.ping()
                self.assertFalse(answer.called)
                settling.callback(None)
                self.assertEqual((await answer)["sessions"][0]["id"], session)


class EndingTests(CallingCase):
    async def test_archive(self) -> None:
        """Archiving mutes the session, stores its end and tells devices; repeating does it again."""
        account = await self.new_account()
        session = await self.open_session(account)
        for _ in range(2):
            answer = await self.request(account, "POST", f"/v1/sessions/{session}/archive", ["anything"])
            self.assertEqual(answer, (200, {"success": True}))
        self.assertEqual(self.notes, [("stop", account, session)] * 2)
        (stored,) = (await self.get(account, "/v1/sessions"))["sessions"]
        self.assertFalse(stored["active"])
        signals = self.signalled(account)
        self.assertEqual(len(signals), 2)
        self.assertEqual(
            signals[-1],
            {
                "type": "activity",
                "id": session,
                "active": False,
                "activeAt": stored["activeAt"],
                "thinking": False,
            },
        )

    async def test_foreign_session_is_not_muted(self) -> None:
        """Archiving and deleting somebody else's session answers 404 and changes nothing (D7)."""
        account, stranger = await self.new_account(), await self.new_account()
        session = await self.open_session(account)
        answer = await self.request(stranger, "POST", f"/v1/sessions/{session}/archive")
        self.assertEqual(answer, (404, {"error": "Session not found"}))
        answer = await self.request(stranger, "DELETE", f"/v1/sessions/{session}")
        self.assertEqual(answer, (404, {"error": "Session not found or not owned by user"}))
        self.assertEqual(self.notes, [])
        self.assertEqual(self.signalled(account) + self.signalled(stranger), [])
        self.assertTrue((await self.get(account, "/v1/sessions"))["sessions"][0]["active"])

    async def test_delete(self) -> None:
        """Deleting takes messages, usage reports and access keys along, then the attachments."""
        account = await self.new_account()
        session, other = await self.open_session(account, "one"), await self.open_session(account, "two")
        batch = {"messages": [{"content": "c", "localId": "l"}]}
        for each in (session, other):
            await self.post(account, f"/v3/sessions/{each}/messages", batch)
            self._add_children(account, each)
        self.heard(account)
        self.notes.clear()
        answer = await self.request(account, "DELETE", f"/v1/sessions/{session}")
        self.assertEqual(answer, (200, {"success": True}))
        self.assertEqual(self.heard(account), [{"t": "delete-session", "sid": session}])
        self.assertEqual(self.notes, [("stop", account, session), ("remove", session)])
        for table in ("SessionMessage", "UsageReport", "AccessKey"):
            left = psql(
                self.dsn, f'SELECT "sessionId" FROM "{table}" WHERE "sessionId" IN (%s, %s)', (session, other)
            )
            self.assertEqual(left, [(other,)])
        answer = await self.request(account, "DELETE", f"/v1/sessions/{session}")
        self.assertEqual(answer.status, 404)

    async def test_delete_much(self) -> None:
        """What is too much for a moment is gone at once for its owner, and removed afterwards."""
        account = await self.new_account()
        session = await self.open_session(account, "tag")
        messages = [{"content": "c", "localId": str(number)} for number in range(9)]
        await self.post(account, f"/v3/sessions/{session}/messages", {"messages": messages})
        self._add_children(account, session)
        self.heard(account)
        with mock.patch.object(removal, "AT_ONCE", 2):
            answer = await self.request(account, "DELETE", f"/v1/sessions/{session}")
            self.assertEqual(answer, (200, {"success": True}))
            self.assertEqual(self.heard(account), [{"t": "delete-session", "sid": session}])
            self.assertEqual(await self.get(account, "/v1/sessions"), {"sessions": []})
            for method, path in (("GET", "messages"), ("POST", "archive")):
                answer = await self.request(account, method, f"/v1/sessions/{session}/{path}")
                self.assertEqual(answer, (404, {"error": "Session not found"}))
            self.assertNotEqual(await self.open_session(account, "tag"), session)
            self.assertEqual(self._left(session), {"SessionMessage": 7, "UsageReport": 0, "AccessKey": 0})

            database = self.server.database
            await database.transact(lambda tx: removal.remove_messages(tx, session, 0))  # and then a restart
            several = [Leftovers(database, reactor).remove() for _ in range(2)]
            found = await gatherResults([Deferred.fromCoroutine(one) for one in several])
        self.assertEqual(found, [1, 1])
        self.assertEqual(set(self._left(session).values()), {0})
        self.assertEqual(psql(self.dsn, 'SELECT 1 FROM "Session" WHERE "id" = %s', [session]), [])
        self.assertEqual(psql(self.dsn, 'SELECT 1 FROM "Account" WHERE "id" = %s', [REMOVED]), [])
        self.assertEqual(await Leftovers(database, reactor).remove(), 0)

    def _left(self, session: str) -> dict[str, int]:
        """How many rows of each table belong to a session."""
        count = 'SELECT count(*) FROM "{}" WHERE "sessionId" = %s'
        tables = ("SessionMessage", "UsageReport", "AccessKey")
        return {table: psql(self.dsn, count.format(table), [session])[0][0] for table in tables}

    def _add_children(self, account: str, session: str) -> None:
        machine = f"machine of {session}"
        psql(
            self.dsn,
            'INSERT INTO "Machine" ("id", "accountId", "metadata", "updatedAt") VALUES (%s, %s, %s, now())',
            (machine, account, ""),
        )
        psql(
            self.dsn,
            'INSERT INTO "AccessKey" ("id", "accountId", "machineId", "sessionId", "data", "updatedAt") '
            "VALUES (%s, %s, %s, %s, '', now())",
            (session, account, machine, session),
        )
        psql(
            self.dsn,
            'INSERT INTO "UsageReport" ("id", "key", "accountId", "sessionId", "data", "updatedAt") '
            "VALUES (%s, 'k', %s, %s, '{}', now())",
            (session, account, session),
        )

    async def test_failed_delete_announces_nothing(self) -> None:
        """A deletion that fails keeps the session and its attachments, and tells nobody."""
        account = await self.new_account()
        session = await self.open_session(account)
        self.heard(account)
        with mock.patch.object(removal, "SESSION", "SELECT 1 / 0"):
            answer = await self.request(account, "DELETE", f"/v1/sessions/{session}")
        self.assertEqual(answer.status, 500)
        self.assertEqual(self.heard(account), [])
        self.assertNotIn(("remove", session), self.notes)
        self.assertEqual(len((await self.get(account, "/v1/sessions"))["sessions"]), 1)


class VersionTests(CallingCase):
    async def test_metadata(self) -> None:
        """The expected version is replaced and told to the session's watchers; other versions are refused."""
        account = await self.new_account()
        session = await self.open_session(account)
        self.heard(account)
        change = {"sid": session, "metadata": "new", "expectedVersion": 0}
        answer = await self.emit(account, "update-metadata", change)
        self.assertEqual(answer, {"result": "success", "version": 1, "metadata": "new"})
        self.assertEqual(self.hub.updates[0].audience.session, session)
        self.assertEqual(
            self.heard(account),
            [{"t": "update-session", "id": session, "metadata": {"value": "new", "version": 1}}],
        )
        for expected in (0, 5, 0.5, 1e300, -1, 10**18):
            stale = {"sid": session, "metadata": "stale", "expectedVersion": expected}
            answer = await self.emit(account, "update-metadata", stale)
            self.assertEqual(answer, {"result": "version-mismatch", "version": 1, "metadata": "new"})
        self.assertEqual(self.heard(account), [])

    async def test_agent_state(self) -> None:
        """The agent state has a version of its own and may become null again."""
        account = await self.new_account()
        session = await self.open_session(account)
        self.heard(account)
        for version, state in enumerate(("busy", None)):
            change = {"sid": session, "agentState": state, "expectedVersion": version}
            answer = await self.emit(account, "update-state", change)
            self.assertEqual(answer, {"result": "success", "version": version + 1, "agentState": state})
        answer = await self.emit(account, "update-state", {**change, "expectedVersion": 1.0})
        self.assertEqual(answer, {"result": "version-mismatch", "version": 2, "agentState": None})
        self.assertEqual(
            [body["agentState"] for body in self.heard(account)],
            [{"value": "busy", "version": 1}, {"value": None, "version": 2}],
        )

    async def test_race(self) -> None:
        """Of simultaneous writers one wins, and the others learn what is stored now (D-6)."""
        account = await self.new_account()
        session = await self.open_session(account)
        answers = await gatherResults(
            [
                Deferred.fromCoroutine(
                    self.emit(
                        account,
                        "update-metadata",
                        {"sid": session, "metadata": f"from {n}", "expectedVersion": 0},
                    )
                )
                for n in range(4)
            ]
        )
        (won,) = [answer for answer in answers if answer["result"] == "success"]
        lost = [answer for answer in answers if answer["result"] == "version-mismatch"]
        self.assertEqual(lost, [{**won, "result": "version-mismatch"}] * 3)

    async def test_errors(self) -> None:
        """Unfit data and sessions not owned are answered with an error (D-5, D-11)."""
        account, stranger = await self.new_account(), await self.new_account()
        session = await self.open_session(account)
        good = {"sid": session, "metadata": "x", "agentState": "x", "expectedVersion": 0}
        for name in ("update-metadata", "update-state"):
            for bad in ({"sid": ""}, {"sid": {"not": 1}}, {"expectedVersion": "0"}, {"sid": "none"}):
                self.assertEqual(await self.emit(account, name, good | bad), {"result": "error"})
            for data in (None, 5, [], {"sid": session}):
                self.assertEqual(await self.emit(account, name, data), {"result": "error"})
            self.assertEqual(await self.emit(stranger, name, good), {"result": "error"})
        null = {**good, "metadata": None}
        self.assertEqual(await self.emit(account, "update-metadata", null), {"result": "error"})
        nul = {**good, "metadata": "\0"}
        self.assertEqual(await self.emit(account, "update-metadata", nul), {"result": "error"})
