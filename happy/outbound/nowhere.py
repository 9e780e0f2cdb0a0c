"""No store: S3 is named, and lacks what it needs to be used.

Files are neither put into the folder of this machine meanwhile, where nobody would look for them once S3 is
complete, nor taken for missing, since the bucket may have them: whoever asks is told to come back.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from happy.base.errors import Overloaded
from happy.outbound.objects import Existing, UploadForm

if TYPE_CHECKING:
    from happy.settings.config import Config

_log = Logger()


class Nowhere:
    """A store that is not there yet: all that would need it raises Overloaded."""

    local = True
    name = "nowhere"

    def __init__(self, config: Config) -> None:
        self._public_base = config.s3_public_url or f"https://{config.s3_host}"

    async def start(self) -> None:
        """Nothing has to be made ready."""

    async def stop(self) -> None:
        """Nothing is under way."""

    def public_url(self, path: str) -> str:
        """Where it will be, as far as that is known: addresses stand in the answers about accounts."""
        return f"{self._public_base}/{quote(path)}"

    async def put(self, path: str, content: BinaryIO, *, owner: str) -> None:
        """Raises Overloaded, as all that follow do."""
        raise _missing()

    async def file(self, path: str, *, owner: str) -> Path | None:
        """The object as a file."""
        raise _missing()

    def upload_form(self, path: str, limit: int) -> UploadForm | None:
        """How a client uploads."""
        raise _missing()

    def download_url(self, path: str) -> str | None:
        """Where a client downloads."""
        raise _missing()

    async def used(self, session: str, *, owner: str) -> int:
        """The bytes of a session's attachments."""
        raise _missing()

    async def total(self) -> int | None:
        """None: nobody knows."""
        return None

    def remove_session(self, session: str, *, owner: str) -> Deferred[None]:
        """Leave them where they may be, and say so."""
        _log.warn("Attachments of a deleted session are not removed: S3 lacks settings")
        return succeed(None)

    async def sweep(self, existing: Existing) -> int:
        """Nothing is looked at."""
        return 0


def _missing() -> Overloaded:
    return Overloaded("S3 lacks settings")
