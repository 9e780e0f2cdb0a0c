"""A server that runs in the process of the test, and happyctl beside it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, NamedTuple

from twisted.internet.threads import deferToThread

from happy.operator import ctl
from tests.live.case import LiveCase


class Ran(NamedTuple):
    """What came of a command."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What it said with --json."""
        return json.loads(self.out)


class OperatorCase(LiveCase):
    """Tests of happyctl against a running server."""

    async def happyctl(self, *arguments: str) -> Ran:
        """Run a command, which finds the server by options."""
        where = ["--data-dir", str(self.folder), "--database-url", self.dsn]
        return await deferToThread(run, [*where, *arguments])

    async def said(self, *arguments: str) -> Mapping[str, Any]:
        """The document of a command that is to succeed."""
        ran = await self.happyctl(*arguments, "--json")
        assert ran.status == 0, ran
        found: Mapping[str, Any] = ran.document
        return found


def run(arguments: list[str]) -> Ran:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = ctl.main(arguments)
    return Ran(status, out.getvalue(), err.getvalue())
