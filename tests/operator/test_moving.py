"""One account on its way from a server to another, which has another secret and other people."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from happy.client import AccountKeys, sign_in
from happy.operator import ctl
from tests.harness import cluster, psql, restore, run_migrations
from tests.live.case import LiveCase
from tests.live.test_takeover import DUMP, RECORDED, lasting


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit status, output and errors of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = ctl.main(list(map(str, arguments)))
    return status, out.getvalue(), err.getvalue()


async def said(*arguments: object) -> tuple[int, str, str]:
    """What comes of a command, while the server goes on."""
    found: tuple[int, str, str] = await deferToThread(run, *arguments)
    return found


async def done(*arguments: object) -> Any:
    """The document of a command that goes well."""
    status, out, err = await said(*arguments, "--json")
    assert status == 0, err
    return json.loads(out)


class MovingTests(LiveCase):
    """Accounts of the original's people come to a server that runs."""

    fresh = True

    async def setUp(self) -> None:
        """Another database with people; its data folder has a file."""
        await super().setUp()
        self.patch(os, "environ", {**os.environ, "HANDY_MASTER_SECRET": self.secret})
        self.work = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="happy-moving-")))
        self.origin = cluster().create(migrated=False)
        self.addCleanup(cluster().drop, self.origin)
        restore(self.origin, DUMP)
        run_migrations(self.origin)
        ((self.ada,),) = psql(
            self.origin, 'SELECT "accountId" FROM "Session" GROUP BY 1 ORDER BY count(*) DESC LIMIT 1'
        )
        ((self.session,),) = psql(
            self.origin, 'SELECT min("id") FROM "Session" WHERE "accountId" = %s', (self.ada,)
        )
        place = self.work / "files" / "sessions" / self.session / "attachments"
        place.mkdir(parents=True)
        (place / "one").write_bytes(b"sealed")
        (self.work / "secret").write_text(RECORDED["masterSecret"] + "\n")
        self.there = ("--database-url", self.origin, "--data-dir", self.work)
        self.here = ("--database-url", self.dsn, "--data-dir", self.folder)
        self.file = self.work / "ada.tar"

    async def test_everything_is_found(self) -> None:
        """The keys log in, and every answer is the one that the other server gave; friends stay there."""
        wrote = await done("accounts", "export", self.ada[:12], self.file, *self.there)
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)
        secret = ("--from-secret", self.work / "secret")
        brought = await done("accounts", "import", self.file, *self.here, *secret)
        self.assertEqual(brought, {**wrote, "left": []})
        self.assertEqual((wrote["id"], wrote["files"]), (self.ada, 1))
        self.assertGreater(wrote["messages"], 0)
        keys = AccountKeys(bytes.fromhex(RECORDED["accounts"]["ada"]["seed"]))
        account = await sign_in(self.server, keys)
        self.assertEqual(account.id, self.ada)
        for read in RECORDED["reads"]:
            if read["account"] != "ada" or read["path"] in ("/v1/friends", "/v2/sessions/active"):
                continue
            answer = await account.request("GET", read["path"])
            self.assertEqual(answer.status, read["status"], read["path"])
            self.assertEqual(lasting(answer.json()), lasting(read["body"]), read["path"])
        copied = self.folder / "files" / "sessions" / self.session / "attachments" / "one"
        self.assertEqual(copied.read_bytes(), b"sealed")
        self.assertEqual(copied.stat().st_mode & 0o777, 0o600)

    async def test_all_or_nothing(self) -> None:
        """What is here already is refused with a line, and neither rows nor files are left of it."""
        await done("accounts", "export", self.ada, self.file, *self.there)
        left = (await done("accounts", "import", self.file, *self.here))["left"]
        self.assertIn("sealed with another secret", left[0])
        self.assertEqual(psql(self.dsn, 'SELECT count(*) FROM "ServiceAccountToken"'), [(0,)])
        before = psql(self.dsn, 'SELECT count(*) FROM "Session"')
        status, out, err = await said("accounts", "import", self.file, *self.here)
        self.assertEqual((status, out, err.count("\n")), (1, "", 1))
        self.assertIn("is here already", err)
        self.assertEqual(psql(self.dsn, 'SELECT count(*) FROM "Session"'), before)

    async def test_somebody_else_has_something(self) -> None:
        """A machine of that id stops it; a username that is taken does not come along."""
        await done("accounts", "export", self.ada, self.file, *self.there)
        ((machine,),) = psql(
            self.origin, 'SELECT min("id") FROM "Machine" WHERE "accountId" = %s', (self.ada,)
        )
        account = (await self.new_phone()).id
        psql(
            self.dsn,
            'INSERT INTO "Machine" ("id", "accountId", "metadata", "updatedAt") '
            "VALUES (%s, %s, 'm', now())",
            (machine, account),
        )
        status, _, err = await said("accounts", "import", self.file, *self.here)
        self.assertEqual((status, "Machine_pkey" in err), (1, True))
        self.assertFalse((self.folder / "files" / "sessions" / self.session).exists())
        psql(self.dsn, 'DELETE FROM "Machine"')
        ((name,),) = psql(self.origin, 'SELECT "username" FROM "Account" WHERE "id" = %s', (self.ada,))
        psql(self.dsn, 'UPDATE "Account" SET "username" = %s WHERE "id" = %s', (name, account))
        left = (await done("accounts", "import", self.file, *self.here))["left"]
        self.assertEqual([line for line in left if "username" in line], left[:1] if name else [])

    async def test_wrong_words(self) -> None:
        """Ids of nobody or of several, files that exist or are something else: one line, and nothing done."""
        for start, why in (("zzz", "no account"), ("c", "too short")):
            status, _, err = await said("accounts", "export", start, self.file, *self.there)
            self.assertEqual((status, why in err, self.file.exists()), (1, True, False))
        self.file.write_bytes(b"mine")
        refused = (await said("accounts", "export", self.ada, self.file, *self.there))[2]
        self.assertIn("exists", refused)
        self.assertEqual(self.file.read_bytes(), b"mine")
        refused = (await said("accounts", "import", self.file, *self.here))[2]
        self.assertIn("no backup", refused)
        self.file.unlink()
        await done("accounts", "export", self.ada, self.file, *self.there)
        refused = (await said("restore", self.file, "--data-dir", self.work / "new"))[2]
        self.assertIn("happyctl accounts import", refused)
