"""Serving a built web app beside the API (http.md 10; D18, D30, D40)."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from happy.api.answers import Answer, answer_of, json_answer
from happy.api.structs import Blob, PlainText
from happy.web.files import PATIENCE
from happy.web.ranges import unchanged
from happy.web.sending import http_date

if TYPE_CHECKING:
    from happy.base.threads import Threads
    from happy.web.routes import Target

BANNER: Final = "Welcome to Happy Server!"
CACHE: Final = "public, max-age=0"

_NOT_PAGES: Final = (b"/v1", b"/v2", b"/v3", b"/socket", b"/files/", b"/metrics", b"/health")
_OWN: Final = b'{"serverUrl":window.location.origin,"disableAnalytics":true}'
_HEAD_TAG: Final = re.compile(rb"<head(?:\s[^>]*)?>", re.IGNORECASE)

_REPOSITORIES: Final = frozenset({".git", ".hg", ".svn", ".bzr", ".jj"})
"""Folders that a build may lie beside, and that hold what is not for everybody."""

Header = Callable[[str], str | None]


class WebApp:
    """The files of a built web app in ``folder``.

    Its page is told ``config``, a JSON object as text. Without one the page asks the server it came from,
    which the browser knows: what a request says about that may be a stranger's, and the page somebody
    else's by way of a cache.
    Files are looked up at each request, so a new build needs no restart, and in ``threads``, since the
    folder may be on a network.
    """

    def __init__(self, folder: Path, threads: Threads, config: str | None = None) -> None:
        self._folder = folder.resolve()
        self._index = self._folder / "index.html"
        self._threads = threads
        self._settings = _OWN if config is None else config.encode()

    async def answer(self, target: Target, header: Header, owner: str) -> Answer:
        """Answer a request of ``owner``'s that no endpoint is declared for.

        Raises Overloaded when the file system does not answer.
        """
        if target.method not in ("GET", "HEAD"):
            return _missing()
        if target.path == b"/" and not _wants_page(header("accept")):
            return answer_of(PlainText(BANNER))
        if target.path in (b"/", b"/index.html"):
            return await self._page(owner, header, self._index)
        file = await self._threads.within_for(owner, PATIENCE, self._find, target.path)
        if file is not None and file.name == self._index.name:
            return await self._page(owner, header, file)
        if file is not None:
            kind = _type(file)
            return answer_of(Blob(path=file, content_type=kind, ranges=True, shelf="pages", headers=_HEADERS))
        if target.method == "HEAD" or not _may_be_page(target):
            return _missing()
        return await self._page(owner, header, self._index)

    def _find(self, path: bytes) -> Path | None:
        """The file that a path names, of a folder its page. Blocks.

        Nothing outside of the folder, and no file with a dot in front. Folders may have one: builds keep
        files in ``.pnpm``, and telephones ask for ``.well-known``.
        """
        names = unquote(path.decode("latin-1"), errors="strict").removesuffix("/").split("/")[1:]
        if (names[-1:] and names[-1].startswith(".")) or not all(map(_may_be_named, names)):
            return None
        try:
            file = self._folder.joinpath(*names).resolve()
            if file.is_dir():
                file = (file / self._index.name).resolve()
            return file if file.is_relative_to(self._folder) and file.is_file() else None
        except (OSError, RuntimeError):  # a name that is too long, a loop of links
            return None

    async def _page(self, owner: str, header: Header, index: Path) -> Answer:
        """A page, with its configuration and the banner put in."""
        try:
            page, etag, modified = await self._threads.within_for(owner, PATIENCE, self._made, index)
        except OSError:
            return _missing()
        headers = {**_HEADERS, "etag": etag, "last-modified": http_date(modified)}
        if header("if-none-match") is not None and unchanged(header, etag, None):
            return Answer(status=304, content_type=None, headers=headers)
        return Answer(content=page, content_type="text/html; charset=utf-8", headers=headers)

    def _made(self, index: Path) -> tuple[bytes, str, int]:
        """A page, its tag, and when it was changed in epoch seconds. Blocks; raises OSError."""
        text, modified = index.read_bytes(), int(index.stat().st_mtime)
        page = _inject(text, self._settings)
        return page, f'W/"{blake2b(page, digest_size=16).hexdigest()}"', modified


_HEADERS: Final = {"cache-control": CACHE}


def _may_be_named(name: str) -> bool:
    """Whether a path may have this part."""
    return bool(name) and name not in (".", "..") and name not in _REPOSITORIES and "\0" not in name


def _missing() -> Answer:
    return json_answer(404, {"error": "Not found"})


def _wants_page(accept: str | None) -> bool:
    """Whether a client takes HTML; the app's check of a server address does not (D18)."""
    return accept is None or "text/html" in accept or "*/*" in accept


def _may_be_page(target: Target) -> bool:
    """Whether a path may be one of the app's own pages, rather than a missing file or endpoint (D40)."""
    last = target.path.rpartition(b"/")[2]
    return b"." not in last and not target.path.startswith(_NOT_PAGES)


def _inject(page: bytes, settings: bytes) -> bytes:
    """``page`` with its settings right after the opening head tag, and the banner at the end (D18, D30)."""
    script = b"\n<script>window.__HAPPY_CONFIG__ = " + settings.replace(b"<", b"\\u003c") + b";</script>"
    head = _HEAD_TAG.search(page)
    if head is not None:
        page = page[: head.end()] + script + page[head.end() :]
    return page + f"<!-- {BANNER} -->\n".encode()


def _type(file: Path) -> str:
    guessed = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed
