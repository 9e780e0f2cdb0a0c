"""Connecting an account with a GitHub user (http.md 6.12)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
from io import BytesIO
from typing import Literal, NamedTuple
from urllib.parse import quote

from msgspec import UNSET, UnsetType
from twisted.logger import Logger

from happy.api.declare import Caller, Capability, RequestFacts
from happy.api.structs import Headers, Invalid, Problem, Query, Redirect, Reply
from happy.base.errors import AccountVanished, Refusal
from happy.base.redaction import describe_fault
from happy.capabilities._profiles import github_profile
from happy.capabilities._sealing import must_be_in_use
from happy.capabilities._turns import turn
from happy.capabilities.server import Server
from happy.keys.vault import github_path
from happy.outbound.github import Denied, GitHubUser
from happy.outbound.http import CallFailed, Rejected
from happy.outbound.images import NotAPicture
from happy.realtime.updates import Avatar, UpdateAccount, devices_of
from happy.storage import github as storage
from happy.storage import uploads
from happy.storage.transaction import Transaction
from happy.storage.uploads import StoredImage

github = Capability("github")

_log = Logger()
_ALPHABET = string.ascii_letters + string.digits
_UNRESERVED = "-_.!~*'()"  # what a browser's own encoding leaves alone


class NotConfigured(Refusal):
    error = "GitHub OAuth not configured"


class NothingSigned(Refusal):
    status = 500
    error = "Server configuration error"


class WebhooksNotConfigured(Refusal):
    status = 500
    error = "Webhooks not configured"


class WrongSignature(Refusal):
    status = 401
    error = "Invalid signature"


class NotConnected(Exception):
    """Connecting failed; ``error`` is what the browser is sent back with."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


class _Image(NamedTuple):
    """A picture in the object store; one that has no record yet has a ``reuse_key``."""

    stored: StoredImage
    reuse_key: str | None


class Callback(Query):
    """What GitHub sends a browser back with: a code, or an error when its user refused."""

    code: str | UnsetType = UNSET
    state: str | UnsetType = UNSET
    error: str | UnsetType = UNSET


class WebhookHeaders(Headers):
    """``x_hub_signature_256`` is ``sha256=`` and the body's HMAC in hexadecimal."""

    x_hub_signature_256: str
    x_github_event: str
    x_github_delivery: str | UnsetType = UNSET


class Authorization(Reply):
    """Where the browser asks for permission."""

    url: str


class Received(Reply):
    received: Literal[True] = True


class Disconnected(Reply):
    success: Literal[True] = True


@github.get("/v1/connect/github/params", refuses=(NotConfigured,))
async def params(caller: Caller, server: Server) -> Authorization:
    """Where to send a browser to connect the account; good for five minutes."""
    redirect_url = server.config.github_redirect_url
    if not (server.config.github_client_id and redirect_url):
        raise NotConfigured
    state = server.tokens.issue_state(caller.account)
    return Authorization(url=server.github.authorize_url(redirect_url, state))


@github.get("/v1/connect/github/callback", public=True)
async def callback(query: Callback, server: Server) -> Redirect:
    """Connect the account that the state names, and send the browser back to the app."""
    try:
        login = await _connect(query, server)
    except NotConnected as reason:
        return _back(server, f"error={quote(reason.error, safe=_UNRESERVED)}")
    return _back(server, f"github=connected&user={quote(login, safe=_UNRESERVED)}")


@github.post(
    "/v1/connect/github/webhook",
    public=True,
    refuses=(NothingSigned, WebhooksNotConfigured, WrongSignature),
    failure={"error": "Internal server error"},
)
async def webhook(headers: WebhookHeaders, request: RequestFacts, server: Server) -> Received:
    """Take note of an event that GitHub signed; nothing else happens."""
    if not request.raw:
        raise NothingSigned
    secret = server.config.github_webhook_secret
    if not secret:
        raise WebhooksNotConfigured
    if not signed(secret, request.raw, headers.x_hub_signature_256):
        raise WrongSignature
    _log.info("GitHub reports an event")
    return Received()


@github.delete("/v1/connect/github", failure={"error": "Failed to disconnect GitHub account"})
async def disconnect(tx: Transaction, caller: Caller) -> Disconnected:
    """Unlink the account from its GitHub user and forget that user, if there is one."""
    user = await storage.linked_user(tx, caller.account)
    if user is not None:
        await _unlink(tx, caller.account)
        await storage.forget_user(tx, user)
    return Disconnected()


def signed(secret: str, content: bytes, signature: str) -> bool:
    """Whether ``signature`` is GitHub's for the content; takes the same time for every wrong one."""
    expected = "sha256=" + hmac.digest(secret.encode(), content, hashlib.sha256).hex()
    return hmac.compare_digest(expected.encode(), signature.encode())


def split_name(name: str | None) -> tuple[str | None, str | None]:
    """First and last name: the first word, and the others."""
    words = (name or "").split()
    return (words[0] if words else None), (" ".join(words[1:]) or None)


def _back(server: Server, outcome: str) -> Redirect:
    return Redirect(f"{server.config.github_return_url}?{outcome}")


async def _connect(query: Callback, server: Server) -> str:
    """The login of the GitHub user that the account is linked to now.

    Raises :class:`NotConnected`, and Invalid for a request that GitHub does not make.
    """
    if query.code is UNSET and query.error is not UNSET:
        raise NotConnected(query.error)
    code, state = _required(query)
    account = server.tokens.verify_state(state)
    if account is None:
        raise NotConnected("invalid_state")
    if not server.github.configured:
        raise NotConnected("server_config")
    try:
        async with turn(server, "github", account):
            return await _link(server, account, code)
    except Denied as denied:
        raise NotConnected(denied.error) from None
    except NotConnected:
        raise
    except Exception as error:
        _log.error("Connecting a GitHub user failed: {fault}", fault=describe_fault(error))
        raise NotConnected("server_error") from None


def _required(query: Callback) -> tuple[str, str]:
    """Code and state. Raises Invalid that names what is missing."""
    if query.code is UNSET or query.state is UNSET:
        missing = [name for name in ("code", "state") if getattr(query, name) is UNSET]
        text = "Invalid input: expected string, received undefined"
        raise Invalid([Problem(("querystring", name), text) for name in missing])
    return query.code, query.state


async def _link(server: Server, account: str, code: str) -> str:
    """Find out who the code stands for, and link the account to them. Returns the login."""
    token = await server.github.exchange(code)
    try:
        user = await server.github.user(token)
    except Rejected:
        raise NotConnected("github_user_fetch_failed") from None
    sealed = server.vault.seal(github_path(account), token)
    linked = await server.database.read(lambda tx: storage.owner(tx, user.id), owner=account) == account
    image = None if linked else await _picture(server, account, user.avatar_url)
    holders = await server.database.read(lambda tx: storage.holders(tx, user.id, user.login), owner=account)

    async def work(tx: Transaction) -> None:
        await must_be_in_use(tx, server.tokens, hold=True)
        await storage.store_user(tx, user.id, user.profile, sealed)
        owner = await storage.owner(tx, user.id)
        if owner != account:
            await _move_here(tx, account, owner, user, image, server)

    await server.database.transact(work, accounts=[account, *holders])
    return user.login


async def _move_here(
    tx: Transaction, account: str, owner: str | None, user: GitHubUser, image: _Image | None, server: Server
) -> None:
    """Take the user and the username from whoever had them, link them to ``account``, and tell everybody."""
    if owner is not None:
        await _unlink(tx, owner)
    for other in await storage.take_username(tx, account, user.login):
        tx.publish(devices_of(other), UpdateAccount(id=other, username=None))
    former_user = await storage.linked_user(tx, account)
    await _link_row(tx, account, user, image)
    if former_user is not None:
        await storage.forget_user(tx, former_user)
    tx.publish(devices_of(account), _connected(account, user, image, server))


async def _link_row(tx: Transaction, account: str, user: GitHubUser, image: _Image | None) -> None:
    if image is not None and image.reuse_key is not None:
        await uploads.record_image(tx, account, image.reuse_key, image.stored)
    first_name, last_name = split_name(user.name)
    if not await storage.link(
        tx,
        account,
        user.id,
        username=user.login,
        first_name=first_name,
        last_name=last_name,
        avatar=image and image.stored._asdict(),
    ):
        raise AccountVanished


def _connected(account: str, user: GitHubUser, image: _Image | None, server: Server) -> UpdateAccount:
    """What the account's devices are told; without a new picture they keep the one they have."""
    first_name, last_name = split_name(user.name)
    return UpdateAccount(
        id=account,
        github=github_profile(user.profile),
        username=user.login,
        first_name=first_name,
        last_name=last_name,
        avatar=UNSET if image is None else _avatar(image.stored, server),
    )


def _avatar(stored: StoredImage, server: Server) -> Avatar:
    return Avatar(**stored._asdict(), url=server.objects.public_url(stored.path))


async def _unlink(tx: Transaction, account: str) -> None:
    await storage.unlink(tx, account)
    tx.publish(devices_of(account), UpdateAccount(id=account, github=None, username=None))


async def _picture(server: Server, account: str, url: str | None) -> _Image | None:
    """The picture at a user's address, stored; None where there is none to be had, whatever the reason."""
    if url is None:
        return None
    reuse_key = f"image-url:{url}"
    try:
        known = await server.database.read(lambda tx: uploads.reusable_image(tx, reuse_key), owner=account)
        return _Image(known, None) if known else _Image(await _imported(server, account, url), reuse_key)
    except (CallFailed, NotAPicture) as reason:
        _log.warn("A picture of a GitHub user is left out: {reason}", reason=str(reason))
    except Exception as error:
        _log.error("Storing a picture of a GitHub user failed: {fault}", fault=describe_fault(error))
    return None


async def _imported(server: Server, account: str, url: str) -> StoredImage:
    """Fetch a picture and put it into the object store as it is."""
    picture = await server.github.picture(url)
    name = "".join(secrets.choice(_ALPHABET) for _ in range(24))
    path = f"public/users/{account}/avatars/github_{name}.{picture.extension}"
    await server.objects.put(path, BytesIO(picture.data), owner=account)
    return StoredImage(path, picture.width, picture.height, picture.thumbhash)
