"""A new embedded database in a folder, for as long as a command fills it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from happy.backup.programs import ProgramFailed
from happy.base.errors import ConnectionLost, QueryFailed, StartupError
from happy.operator.hosting import hosted
from happy.operator.reaching import NAME, sockets_of, url
from happy.operator.trouble import NotReachable
from happy.storage.blocking import BlockingDatabase, opened

if TYPE_CHECKING:
    from happy.settings.config import Config


@contextmanager
def made(
    config: Config, place: Path, settings: Mapping[str, str] | None = None, *, gives_way: bool = False
) -> Iterator[BlockingDatabase]:
    """A database that is made in ``place``, of the settings of :func:`~happy.operator.hosting.hosted`.

    Raises ProgramFailed when it is not made, or ends in the middle of the work.
    """
    own = replace(config, data_dir=place, database_url=None)
    try:
        with (
            hosted(own, settings, gives_way=gives_way),
            opened(url(sockets_of(place / "postgres")), NAME) as database,
        ):
            yield database
    except (NotReachable, StartupError) as failed:
        raise ProgramFailed(str(failed)) from None
    except ConnectionLost:
        raise ProgramFailed(
            f"the new database in {place} ended meanwhile; is there room on its disk?"
        ) from None
    except QueryFailed as failed:
        raise ProgramFailed(f"the new database in {place}: {failed}") from None
