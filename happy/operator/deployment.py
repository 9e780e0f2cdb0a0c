"""The server that a command is about: its settings, its database, its control socket."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from happy.base.errors import ConnectionLost, QueryFailed, StartupError
from happy.operator.control import Control
from happy.operator.reaching import NAME, reached
from happy.operator.trouble import CommandFailed, Misused, NotReachable
from happy.settings.config import Config
from happy.settings.declaration import BadSetting
from happy.settings.explained import Findings, explain
from happy.settings.loading import load
from happy.storage.blocking import BlockingDatabase, opened
from happy.storage.migrate import load_migrations, newest_applied

PACKAGED = Path("/etc/happy/happy.toml")
"""The settings of a server that came as a package of the system."""

_UNDEFINED_TABLE = "42P01"

_REFUSALS = {
    "53100": "the disk of the database is full; make room, then do it again",
    "55P03": "somebody else has held what is needed for a minute; do it again",
    "25006": "the database only takes questions, as a standby does; name the one that is written to",
    "42501": "the role in DATABASE_URL may not do that in the database",
}
"""What the database refuses for reasons that an operator can do something about, by SQLSTATE."""


class Closed(NamedTuple):
    """How many sockets were closed, and which nodes did not answer, and close theirs within a second."""

    sockets: int
    silent: list[str]


class Deployment:
    """One server, found as it finds its own settings: options, then environment, then file.

    ``options`` has texts by the names of settings.
    """

    def __init__(
        self, options: Mapping[str, Sequence[str]], environment: Mapping[str, str] | None = None
    ) -> None:
        self._options = options
        self._environment = os.environ if environment is None else environment

    @cached_property
    def config(self) -> Config:
        """Its settings. Raises Misused for wrong ones."""
        try:
            return load({**self._options, **self._packaged()}, self._environment)
        except BadSetting as error:
            raise Misused(str(error)) from None

    def findings(self) -> Findings:
        """Where each setting came from, and what is wrong with them."""
        return explain({**self._options, **self._packaged()}, self._environment)

    def _packaged(self) -> dict[str, list[str]]:
        """The file of the system's package, where nothing says which server is meant, and none is here."""
        named = self._options.keys() & {"config", "data-dir", "database-url"}
        named |= self._environment.keys() & {"HAPPY_CONFIG", "DATA_DIR", "DATABASE_URL"}
        # Not of Path: where this is run may be closed to us.
        if named or os.path.exists("data") or not os.path.exists(PACKAGED):
            return {}
        return {"config": [str(PACKAGED)]}

    @cached_property
    def control(self) -> Control:
        """Its control socket, of which nothing is known before it is asked."""
        return Control(self.config.data_dir)

    def look_at_access(self) -> Closed | None:
        """Let all nodes see at once what the database says of accounts, and note whom they have seen.

        None if no server runs here: those that run elsewhere see it within a second.
        """
        try:
            answer = self.control.post("/access")
        except NotReachable:
            return None
        return Closed(int(answer["closed"]), list(answer.get("silent", ())))

    def nodes(self) -> list[Mapping[str, Any]]:
        """What the server here tells of the nodes of the service, itself too; nothing if none answers.

        See :meth:`happy.cluster.company.Company.told`.
        """
        try:
            return list(self.control.get("/status")["nodes"])
        except CommandFailed:
            return []

    @contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[BlockingDatabase]:
        """Its database, whether it runs or not; the work is done with it when the context ends.

        ``migrated`` asks for the schema of this version. Raises NotReachable when there is no database, or
        it is lost meanwhile, and CommandFailed when the schema is another one.
        """
        try:
            with reached(self.config) as dsn, opened(dsn, NAME) as database:
                if migrated:
                    _check_schema(database)
                yield database
        except ConnectionLost as lost:
            raise NotReachable(f"the database is not reachable: {lost.reason or 'it went away'}") from None
        except QueryFailed as failed:
            raise CommandFailed(_REFUSALS.get(failed.sqlstate or "", str(failed))) from None
        except StartupError as error:
            raise NotReachable(str(error)) from None


def _check_schema(database: BlockingDatabase) -> None:
    wanted = load_migrations()[-1].version
    try:
        found = database.transact(newest_applied)
    except QueryFailed as failed:
        if failed.sqlstate != _UNDEFINED_TABLE:
            raise
        found = 0
    if found < wanted:
        raise CommandFailed("the database has not the tables of this version yet; start the server once")
    if found > wanted:
        raise CommandFailed("a newer version of this server has used the database; use its happyctl")
