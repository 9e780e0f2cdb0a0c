"""Login by signed challenge, and linking of devices (http.md 6.2, tokens-and-crypto.md 6 and 7)."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from happy.api.declare import Caller, Capability, RequestFacts
from happy.api.structs import Base64, Body, Query, Reply
from happy.base.codecs import decode_base64, encode_hex
from happy.base.errors import AccountDisabled, Refusal
from happy.capabilities._replies import Success
from happy.capabilities.server import Server
from happy.keys.tokens import verify_signature
from happy.storage import access, auth_requests, registration
from happy.storage.accounts import Login
from happy.storage.auth_requests import POLL_GRAIN, LinkKind, LinkRequest
from happy.storage.registration import RegistrationClosed
from happy.storage.transaction import Transaction

_KEY_SIZE = 32
_WHAT = {LinkKind.TERMINAL: "terminal", LinkKind.ACCOUNT: "device"}

auth = Capability("auth")


class InvalidSignature(Refusal):
    status = 401
    error = "Invalid signature"


class InvalidPublicKey(Refusal):
    status = 401
    error = "Invalid public key"


class RequestNotFound(Refusal):
    status = 404
    error = "Request not found"


class TooManyRequests(Refusal):
    """The peer address, or the account's key, used up the current minute's requests."""

    status = 429
    error = "Too many requests. Try again in a minute."


class SignedChallenge(Body):
    """A challenge of the client's own choice, signed with its account key."""

    public_key: Base64
    challenge: Base64
    signature: Base64


class LoggedIn(Reply):
    success: Literal[True] = True
    token: str


class TerminalPoll(Body):
    """``public_key`` is the terminal's one-time X25519 key."""

    public_key: Base64
    supports_v2: bool | None = None


class DevicePoll(Body):
    public_key: Base64


class StatusQuery(Query):
    public_key: Base64


class Approval(Body):
    """``response`` is sealed for the waiting device; the server never looks into it."""

    public_key: Base64
    response: str


class Requested(Reply):
    state: Literal["requested"] = "requested"


class Authorized(Reply):
    state: Literal["authorized"] = "authorized"
    token: str
    response: str


class PairingStatus(Reply):
    progress: Literal["not_found", "pending", "authorized"] = field(name="status")
    supports_v2: bool = False


@auth.post(
    "/v1/auth", public=True, refuses=(InvalidSignature, RegistrationClosed, AccountDisabled, TooManyRequests)
)
async def log_in(server: Server, request: RequestFacts, body: SignedChallenge) -> LoggedIn:
    """Exchange a signature for a token; the first login makes the account."""
    _count_address(server, request)
    try:
        key = _signer(body)
    except InvalidSignature:
        server.events.login_refused("wrong signature", request.address)
        raise
    if not server.limits.logins.admit(key):
        server.events.login_refused("too many logins", request.address)
        raise TooManyRequests
    login = await _enter(server, request, key)
    if login.made:
        server.events.account_made(login.account)
    return LoggedIn(token=server.tokens.issue(login.account))


async def _enter(server: Server, request: RequestFacts, key: str) -> Login:
    """Find the account of a key (upper-case hex), or make it. Raises RegistrationClosed."""
    default = server.config.registration
    try:
        return await server.database.transact(
            lambda tx: registration.enter(tx, key, default), owner=_peer(request)
        )
    except RegistrationClosed:
        server.tokens.access.note_refused(registration.fingerprint(key))
        server.events.registration_refused(request.address)
        raise


@auth.post("/v1/auth/request", public=True, refuses=(InvalidPublicKey, AccountDisabled, TooManyRequests))
async def poll_terminal(server: Server, request: RequestFacts, body: TerminalPoll) -> Requested | Authorized:
    """What a terminal repeats until it is approved; the first call makes the request."""
    _count_address(server, request)
    key = _device_key(body.public_key)
    found = await _poll(server, request, LinkKind.TERMINAL, key, bool(body.supports_v2))
    return _progress(server, found, session=found.id)


@auth.get("/v1/auth/request/status", public=True, refuses=(TooManyRequests,))
async def terminal_status(server: Server, request: RequestFacts, query: StatusQuery) -> PairingStatus:
    """What the approving device wants to know before it answers."""
    _count_address(server, request)
    try:
        key = _device_key(query.public_key)
    except InvalidPublicKey:
        return PairingStatus(progress="not_found")
    found = await server.database.read(
        lambda tx: auth_requests.find(tx, LinkKind.TERMINAL, key), owner=_peer(request)
    )
    if found is None:
        return PairingStatus(progress="not_found")
    if found.answer is not None:
        return PairingStatus(progress="authorized")
    return PairingStatus(progress="pending", supports_v2=found.supports_v2)


@auth.post("/v1/auth/response", refuses=(InvalidPublicKey, RequestNotFound))
async def approve_terminal(server: Server, tx: Transaction, caller: Caller, body: Approval) -> Success:
    """Let a terminal into the caller's account; the first approval wins."""
    return await _approve(server, tx, LinkKind.TERMINAL, caller, body)


@auth.post(
    "/v1/auth/account/request", public=True, refuses=(InvalidPublicKey, AccountDisabled, TooManyRequests)
)
async def poll_device(server: Server, request: RequestFacts, body: DevicePoll) -> Requested | Authorized:
    """What a further device repeats until it is approved; the first call makes the request."""
    _count_address(server, request)
    key = _device_key(body.public_key)
    return _progress(server, await _poll(server, request, LinkKind.ACCOUNT, key))


@auth.post("/v1/auth/account/response", refuses=(InvalidPublicKey, RequestNotFound))
async def approve_device(server: Server, tx: Transaction, caller: Caller, body: Approval) -> Success:
    """Let a further device into the caller's account; the first approval wins."""
    return await _approve(server, tx, LinkKind.ACCOUNT, caller, body)


def _count_address(server: Server, request: RequestFacts) -> None:
    """Count a request to an open endpoint. Raises TooManyRequests."""
    if not server.limits.addresses.admit(request.address):
        raise TooManyRequests


def _peer(request: RequestFacts) -> str:
    """Who pays for the database's time of a request that belongs to no account yet."""
    return f"address:{request.address}"


def _signer(body: SignedChallenge) -> str:
    """The public key (upper-case hex) that signed the challenge. Raises InvalidSignature."""
    try:
        key = decode_base64(body.public_key)
        valid = verify_signature(key, decode_base64(body.challenge), decode_base64(body.signature))
    except ValueError:
        valid = False
    if not valid:
        raise InvalidSignature
    return encode_hex(key)


def _device_key(text: str) -> str:
    """A waiting device's public key as upper-case hex. Raises InvalidPublicKey."""
    try:
        key = decode_base64(text)
    except ValueError:
        raise InvalidPublicKey from None
    if len(key) != _KEY_SIZE:
        raise InvalidPublicKey
    return encode_hex(key)


async def _poll(
    server: Server, request: RequestFacts, kind: LinkKind, key: str, supports_v2: bool = False
) -> LinkRequest:
    """The request for ``key``; most polls find it and write nothing."""
    owner = _peer(request)
    found = await server.database.read(lambda tx: auth_requests.find(tx, kind, key), owner=owner)
    if found is not None and (not found.waiting or _just_noted(server, found)):
        return found
    polled = await server.database.transact(
        lambda tx: auth_requests.poll(tx, kind, key, supports_v2), owner=owner
    )
    if found is None:
        server.events.pairing_waits(_WHAT[kind])
    return polled


def _just_noted(server: Server, request: LinkRequest) -> bool:
    return abs(server.now() * 1000 - request.updated_at) < POLL_GRAIN


def _progress(server: Server, request: LinkRequest, session: str | None = None) -> Requested | Authorized:
    """The answer to a poll; each one after the approval carries a token of its own."""
    if request.answer is None:
        return Requested()
    account, response = request.answer
    return Authorized(token=server.tokens.issue(account, session), response=response)


async def _approve(
    server: Server, tx: Transaction, kind: LinkKind, caller: Caller, body: Approval
) -> Success:
    key = _device_key(body.public_key)
    if not await auth_requests.approve(tx, kind, key, body.response, caller.account):
        raise RequestNotFound
    tx.after_commit(lambda: server.events.pairing_answered(caller.account, _WHAT[kind]))
    if kind is LinkKind.TERMINAL:
        await access.paired(tx, key, caller.account)
    return Success()
