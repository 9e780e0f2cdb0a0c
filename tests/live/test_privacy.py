"""What a running server writes down about the people who use it: nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import treq
from msgspec import Raw
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from happy.api.declare import Route
from happy.base.codecs import decode_base64, encode_base64, encode_hex
from happy.bench import proc
from happy.capabilities import CAPABILITIES
from happy.client import Account, AccountKeys, RemoteServer, Scope, SocketRefused, open_socket, sign_in
from tests.live import canaries
from tests.live.canaries import ADDRESS, HEADERS, MARK
from tests.live.serving import PATIENCE, Served, free_port

LOG_BOUND = 100 * 1024
ROUTES = sorted(
    (route for capability in CAPABILITIES if capability.name != "debug_log" for route in capability.routes),
    # Nobody is to be notified, and what is deleted is missed later.
    key=lambda route: (route.method == "DELETE", "push-tokens" in route.path),
)
EVENTS = [event for capability in CAPABILITIES for event in capability.events]
BREAKS = ("XX001", "57014", "40001", "53100")
"""SQLSTATEs: something unforeseen, a statement that takes too long, a conflict, a full disk."""

BREAKABLE = """
CREATE TABLE "broken" ("state" text);
INSERT INTO "broken" VALUES (NULL);
CREATE SEQUENCE "breaks";
CREATE FUNCTION "break_it"() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wanted text := (SELECT "state" FROM "broken");
BEGIN
  IF wanted IS NOT NULL THEN
    PERFORM nextval('breaks');
    RAISE EXCEPTION USING ERRCODE = wanted, MESSAGE = NEW::text, DETAIL = NEW::text, HINT = NEW::text;
  END IF;
  RETURN NEW;
END $$;
"""
"""Lets whatever is written fail with the row in every part of the message."""

Names = dict[str, str]


class PrivacyCase(TestCase):
    """A server that says all that it can say, and what must not be found in it."""

    timeout = 180

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.metrics = free_port()
        self.said: set[str] = {MARK, ADDRESS, "127.0.0.1"}

    async def serve(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        self.addCleanup(self.end)
        self.served = Served(
            self.folder,
            "--log-level=debug",
            "--trusted-proxies=127.0.0.0/8",
            f"--metrics-port={self.metrics}",
        )
        await self.served.start()
        self.server = RemoteServer(self.served.url, reactor, client=f"ios/1 {MARK}", connections=16)

    def end(self) -> None:
        """Leave nothing running when a test has failed."""
        self.served.ready.addErrback(lambda _: None)
        self.served.kill(signal.SIGKILL)

    async def stop(self) -> None:
        """Stop the server, and look at everything that it leaves behind."""
        response = await treq.get(f"http://127.0.0.1:{self.metrics}/metrics", persistent=False)
        metrics = await treq.content(response)
        await self.server.close()
        self.assertEqual(await self.served.stop(), 0)
        self.assertNotIn(b"Stopping goes on without", self.served.log)
        self.assertIn(b"Ready after", self.served.log)
        self.assertLess(len(self.served.log), LOG_BOUND)
        self.log = self.served.log + b"".join(log.read_bytes() for log in self.folder.glob("**/*.log*"))
        for text in self.said:
            self.assertNotIn(text.encode(), self.log, self.log.decode(errors="replace"))
            self.assertNotIn(text.encode(), metrics)

    def everything(self) -> Iterator[Path]:
        """What the server made, but for PostgreSQL's own."""
        data = self.folder / "data"
        yield from (path for path in data.glob("*"))
        yield from (data / "files").rglob("*")

    async def new_account(self) -> Account:
        keys = AccountKeys.generate()
        account = await sign_in(self.server, keys)
        login = keys.login()
        self.said |= {account.token, account.token.split(".")[1], *login.values(), *hexes(login)}
        return account

    async def ask(self, account: Account, route: Route, target: str, body: bytes) -> int:
        """The status of the answer to a request that says everything it can."""
        headers = HEADERS | ({"content-type": "application/json"} if body else {})
        answer = await account.request(route.method, target, content=body, headers=headers)
        return answer.status


class UseTests(PrivacyCase):
    """The logs after a lively time, with good and bad requests of every kind."""

    async def test_logs_are_silent(self) -> None:
        """No token, key, signature, content, body, query or address is in any log, at any level."""
        await self.serve()
        await self.use()
        await self.abuse()
        account = await self.new_account()
        names = await self.things(account)
        statuses = [status for route in ROUTES for status in await self.every_request(account, route, names)]
        self.assertLessEqual({200, 400, 404, 500}, set(statuses))
        await self.every_event(account)
        await deferToThread(canaries.shout, self.served.port)
        await self.use()
        await self.stop()
        modes = {path: path.stat().st_mode & 0o077 for path in self.everything()}
        self.assertEqual({path for path, mode in modes.items() if mode}, set(), "whatever the umask is")
        self.assertGreater(len(modes), 6)
        self.assertEqual((self.folder / "data").stat().st_mode & 0o777, 0o755)

    async def use(self) -> None:
        """Do what clients do."""
        account = await self.new_account()
        session = await account.create_session(MARK, {"path": MARK})
        socket = await account.open_socket()
        terminal = await account.open_socket(Scope.session(session.id))
        sealed = session.cipher.seal(MARK)
        self.said.add(sealed)
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

    async def things(self, account: Account) -> Names:
        """Something for every id that a path has."""
        session = await account.create_session(MARK, {"path": MARK})
        machine = await account.register_machine(f"{MARK}-machine", {"host": MARK})
        return {"sessionId": session.id, "machineId": machine.id, "vendor": "openai", "id": machine.id}

    def every_request(self, account: Account, route: Route, names: Names) -> Deferred[list[int]]:
        """The statuses of requests with every value of each kind."""
        asking = [
            Deferred.fromCoroutine(self.ask(account, route, target, body))
            for target in canaries.targets(route, names)
            for body in canaries.bodies(route)
        ]
        return gatherResults(asking, consumeErrors=True)

    async def every_event(self, account: Account) -> None:
        """Say every event with every value of each kind."""
        socket = await account.open_socket()
        for event in EVENTS:
            for arguments in canaries.arguments(event):
                socket.emit(event.name, *(Raw(json.dumps(one).encode()) for one in arguments))
        await socket.call("ping")
        socket.abort()

    async def abuse(self) -> None:
        """Do what clients should not do with their credentials."""
        account = await self.new_account()
        forged = account.token[:-6] + MARK[:6]
        self.said.add(forged)
        await self.server.request("GET", "/v1/sessions", token=forged, headers=HEADERS)
        await self.server.request(
            "POST", "/v1/auth", dict.fromkeys(("publicKey", "challenge", "signature"), MARK)
        )
        for token in (forged, MARK):
            for scope in (Scope.user(), Scope.session(MARK), Scope(MARK, {MARK: MARK})):
                with self.assertRaises(SocketRefused):
                    await open_socket(self.server, token, scope)


class FaultTests(PrivacyCase):
    """The logs after everything that can go wrong while clients are at work."""

    async def test_faults_are_silent(self) -> None:
        """A database that fails, is killed or has no room, and files that cannot be written, tell nothing."""
        await self.serve()
        self.account, self.writer = await self.new_account(), await self.new_account()
        session = await self.account.create_session(MARK, {"path": MARK})
        written = await self.writer.create_session(MARK, {"path": MARK})
        self.messages = f"/v3/sessions/{written.id}/messages"
        self.names = {"sessionId": session.id, "machineId": MARK, "vendor": "openai", "id": MARK}
        self.attachment = "/v1/sessions/{}/attachments/{}.enc".format(session.id, "0" * 32)
        rows = psycopg2.connect(f"postgresql://happy@/postgres?host={self.folder}/data/postgres")
        self.addCleanup(rows.close)
        rows.autocommit = True
        await self.break_rows(rows.cursor())
        await self.kill(rows.cursor())
        await self.break_files()
        await self.stop()
        for sign in (b"XX001", b"PostgreSQL ended unexpectedly", b"terminated by signal 9"):
            self.assertIn(sign, self.log)
        self.assertIn(b"POST /v1/sessions failed", self.log)
        self.assertRegex(self.log, b"attachments/:attachmentFile.*NotADirectoryError")

    def work(self) -> Deferred[list[int]]:
        """One good request to each endpoint, all at once; fires with the statuses when all are answered.

        Messages are another account's: whoever has a message under way waits for it.
        """
        asking = []
        for route in ROUTES:
            account, target = self.account, next(canaries.targets(route, self.names))
            if route.path.endswith("/messages"):
                account, target = self.writer, self.messages
            if route.method != "DELETE" and not route.path.endswith("/push-event"):
                asked = self.ask(account, route, target, next(canaries.bodies(route)))
                asking.append(Deferred.fromCoroutine(asked))
        return gatherResults(asking, consumeErrors=True).addTimeout(PATIENCE, reactor)

    async def break_rows(self, rows: Any) -> None:
        """Let what is written fail in different ways."""
        rows.execute(BREAKABLE)
        rows.execute("""SELECT "tablename" FROM "pg_tables" WHERE "schemaname" = 'public'""")
        for (table,) in rows.fetchall():
            if table not in {"broken", "happy_commits"}:
                rows.execute(
                    f'CREATE TRIGGER "b" BEFORE INSERT OR UPDATE ON "{table}" '
                    'FOR EACH ROW EXECUTE FUNCTION "break_it"()'
                )
        for state in BREAKS:
            rows.execute('UPDATE "broken" SET "state" = %s', [state])
            working = self.work()
            rows.execute("""SELECT setval('breaks', 1)""")
            await self.until(rows, """SELECT "last_value" > 6 FROM "breaks" """)
            rows.execute('UPDATE "broken" SET "state" = NULL')
            await working

    async def until(self, rows: Any, sql: str) -> None:
        """Wait until the database says so."""
        while True:
            rows.execute(sql)
            if rows.fetchone()[0]:
                return
            await deferLater(reactor, 0.01, lambda: None)  # type: ignore[arg-type]

    async def kill(self, rows: Any) -> None:
        """Kill a session in the middle of a statement, and then the whole of PostgreSQL."""
        rows.execute("BEGIN")
        rows.execute('LOCK TABLE "Session", "Machine", "Account", "UserKVStore"')
        working = self.work()
        waiting = """SELECT count(*), min(pid) FROM "pg_stat_activity" WHERE "wait_event_type" = 'Lock'"""
        while True:
            rows.execute(waiting)
            count, pid = rows.fetchone()
            if count > 3:
                break
            await deferLater(reactor, 0.01, lambda: None)  # type: ignore[arg-type]
        os.kill(pid, signal.SIGKILL)
        await working
        working = self.work()
        postmaster = proc.postmaster(self.served.transport.pid)
        assert postmaster is not None
        os.kill(postmaster, signal.SIGKILL)
        await self.served.said(b"PostgreSQL ended unexpectedly")
        await working

    async def break_files(self) -> None:
        """Let files not be written."""
        incoming = self.folder / "data" / "files" / ".incoming"
        shutil.rmtree(incoming)
        incoming.touch()
        headers = HEADERS | {"content-type": "application/octet-stream"}
        answer = await self.account.request("PUT", self.attachment, content=MARK.encode(), headers=headers)
        self.assertEqual(answer.status, 500)


def hexes(login: dict[str, Any]) -> set[str]:
    """The forms in which a public key is stored."""

    raw = decode_base64(login["publicKey"])
    return {encode_hex(raw), encode_hex(raw).lower(), encode_base64(raw)}
