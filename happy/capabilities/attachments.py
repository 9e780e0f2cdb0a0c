"""Files that belong to sessions: sealed by clients, opaque here (http.md 6.11)."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Annotated, BinaryIO, Literal
from urllib.parse import quote

from msgspec import Meta

from happy.api.declare import MIB, Caller, Capability, RequestFacts
from happy.api.parts import Parts
from happy.api.structs import Blob, Body, Key, Redirect, Reply
from happy.base.errors import Refusal
from happy.capabilities import _links
from happy.capabilities._sessions import SessionNotFound, check_owner
from happy.capabilities.server import Server
from happy.outbound.objects import attachment
from happy.outbound.objects import attachments as folder_of
from happy.storage import sessions

LARGEST = 10 * MIB
TURN_SECONDS = 60.0
"""How long an upload waits for those of its account that came first."""
_LONGEST_NAME = 255  # bytes; what file systems take
_PLAIN = "!$&'()*+,;=:@"  # what may stand in a path as it is (RFC 3986, 3.3)

attachments = Capability("attachments")


class TooManyUploads(Refusal):
    status = 429
    error = "Too many upload requests. Try again in a minute."


class QuotaExceeded(Refusal):
    status = 413
    error = "The attachments of this session take up all their space"


class AccountQuotaExceeded(Refusal):
    status = 413
    error = "The attachments of this account take up all their space"


class UploadGoesElsewhere(Refusal):
    status = 404
    error = "Direct upload not available in S3 mode"


class InvalidFile(Refusal):
    status = 404
    error = "Invalid attachment file"


class FileTooLarge(Refusal):
    status = 413
    error = "File too large (max 10MB)"


class FileNotFound(Refusal):
    status = 404
    error = "Attachment not found"


class ForeignRef(Refusal):
    status = 400
    error = "Ref does not belong to this session"


class InvalidRef(Refusal):
    status = 400
    error = "Invalid attachment ref"


class UploadRequest(Body):
    """``size`` is in bytes; only its upper bound counts. The name is not used."""

    filename: Key
    size: Annotated[float, Meta(le=LARGEST)]


class Upload(Reply):
    """Send the bytes as the body of a PUT to ``upload_url``; ``ref`` is what messages refer to."""

    ref: str
    upload_url: str
    method: Literal["PUT"] = "PUT"


class FormUpload(Reply):
    """Send the bytes as the last part, ``file``, of a multipart form with these fields."""

    ref: str
    upload_url: str
    method: Literal["POST"] = "POST"
    form_fields: Mapping[str, str]


class DownloadRequest(Body):
    ref: Key


class Download(Reply):
    download_url: str


class Stored(Reply):
    ok: Literal[True] = True


def _uploader(server: Parts, variables: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    return _signer(server, "PUT", variables, query)


def _downloader(server: Parts, variables: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    return _signer(server, "GET", variables, query)


def _signer(
    server: Parts, purpose: _links.Purpose, variables: Mapping[str, str], query: Mapping[str, str]
) -> str | None:
    """The account that a signed address was made for."""
    session, file, signature = variables["session_id"], variables["attachment_file"], query.get("signature")
    if signature is None:
        return None
    return _links.account_of(server.vault, server.now(), purpose, session, file, signature)


@attachments.post(
    "/v1/sessions/:sessionId/attachments/request-upload",
    refuses=(TooManyUploads, SessionNotFound, QuotaExceeded, AccountQuotaExceeded),
    strips={413: ("error",)},
)
async def request_upload(
    server: Server, caller: Caller, session_id: str, body: UploadRequest, request: RequestFacts
) -> Upload | FormUpload:
    """Where to send a new file."""
    if not server.limits.uploads.admit(caller.account):
        raise TooManyUploads
    await check_owner(server, caller, session_id)
    await _check_quotas(server, caller, session_id, body.size)
    file = f"{uuid.uuid4()}.enc"
    ref = attachment(session_id, file)
    form = server.objects.upload_form(ref, LARGEST)
    if form is not None:
        return FormUpload(ref=ref, upload_url=form.url, form_fields=form.fields)
    return Upload(ref=ref, upload_url=_address(server, request, "PUT", caller, session_id, file))


@attachments.put(
    "/v1/sessions/:sessionId/attachments/:attachmentFile",
    proof=_uploader,
    refuses=(
        UploadGoesElsewhere,
        SessionNotFound,
        InvalidFile,
        FileTooLarge,
        QuotaExceeded,
        AccountQuotaExceeded,
    ),
    limit=11 * MIB,
)
async def upload(
    server: Server, caller: Caller, session_id: str, attachment_file: str, content: BinaryIO
) -> Stored:
    """Store a file, in the place of a former one of that name."""
    if not server.objects.local:
        raise UploadGoesElsewhere
    await check_owner(server, caller, session_id)
    if not _is_name(attachment_file):
        raise InvalidFile
    size = content.seek(0, os.SEEK_END)
    if size > LARGEST:
        raise FileTooLarge
    content.seek(0)
    # One at a time for an account: whoever sends many files must not keep all threads with them, and each
    # counts for the next one's quota.
    turn = [f"files {caller.account}"]
    release = await server.database.linearizer.acquire_within(TURN_SECONDS, turn, server.clock)
    try:
        await _check_quotas(server, caller, session_id, size)
        await server.objects.put(attachment(session_id, attachment_file), content, owner=caller.account)
    finally:
        release()
    return Stored()


@attachments.post(
    "/v1/sessions/:sessionId/attachments/request-download",
    refuses=(SessionNotFound, ForeignRef, InvalidRef),
    strips={400: ("error",)},
)
async def request_download(
    server: Server, caller: Caller, session_id: str, body: DownloadRequest, request: RequestFacts
) -> Download:
    """Where to get a file, whether it exists or not."""
    await check_owner(server, caller, session_id)
    folder = folder_of(session_id)
    if not body.ref.startswith(folder):
        raise ForeignRef
    file = body.ref.removeprefix(folder)
    if not file or ".." in file or "/" in file:
        raise InvalidRef
    url = server.objects.download_url(body.ref)
    return Download(download_url=url or _address(server, request, "GET", caller, session_id, file))


@attachments.get(
    "/v1/sessions/:sessionId/attachments/:attachmentFile",
    proof=_downloader,
    refuses=(SessionNotFound, InvalidFile, FileNotFound),
)
async def download(server: Server, caller: Caller, session_id: str, attachment_file: str) -> Blob | Redirect:
    """The bytes of a file."""
    await check_owner(server, caller, session_id)
    if not _is_name(attachment_file):
        raise InvalidFile
    path = attachment(session_id, attachment_file)
    if (url := server.objects.download_url(path)) is not None:
        return Redirect(url)
    if (file := await server.objects.file(path, owner=caller.account)) is None:
        raise FileNotFound
    return Blob(path=file, headers={"x-content-type-options": "nosniff"})


def _is_name(file: str) -> bool:
    """Whether a text names a file in a folder, and nothing outside of it."""
    if file in ("", ".") or ".." in file or "/" in file or "\0" in file:
        return False
    return len(file.encode("utf-8", "replace")) <= _LONGEST_NAME


async def _check_quotas(server: Server, caller: Caller, session: str, size: float) -> None:
    """Raises a refusal if ``size`` more bytes are too many for the session (D45), or for the account."""
    quota = server.config.attachment_quota
    if quota and await server.objects.used(session, owner=caller.account) + size > quota:
        raise QuotaExceeded
    quota = server.config.account_attachments
    if quota and await _used(server, caller.account, quota) + size > quota:
        raise AccountQuotaExceeded


async def _used(server: Server, account: str, enough: int) -> int:
    """The bytes of an account's attachments; no more than ``enough`` are looked for."""
    used = 0
    for session in await server.database.read(lambda tx: sessions.ids(tx, account), owner=account):
        used += await server.objects.used(session, owner=account)
        if used > enough:
            break
    return used


def _address(
    server: Server, request: RequestFacts, purpose: _links.Purpose, caller: Caller, session: str, file: str
) -> str:
    """Where the caller reaches the file through this server, with a token or without (D20)."""
    signature = _links.sign(server.vault, server.now(), purpose, caller.account, session, file)
    path = f"/v1/sessions/{quote(session, '')}/attachments/{quote(file, _PLAIN)}"
    return f"{request.base_url}{path}?signature={signature}"
