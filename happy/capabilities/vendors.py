"""The vault of third-party credentials (http.md 6.13, tokens-and-crypto.md 5)."""

from __future__ import annotations

from typing import Literal

from twisted.logger import Logger

from happy.api.declare import Caller, Capability
from happy.api.structs import Body, Reply
from happy.capabilities._replies import Success
from happy.capabilities._sealing import must_be_in_use
from happy.capabilities.server import Server
from happy.keys.vault import Unsealable, vendor_path
from happy.storage import vendors as storage
from happy.storage.transaction import Transaction

Vendor = Literal["openai", "anthropic", "gemini"]

_log = Logger()

vendors = Capability("vendors")


class Credential(Body):
    """``token`` is opaque; clients put JSON text into it."""

    token: str


class Token(Reply):
    token: str | None


class VendorToken(Reply):
    vendor: str
    token: str


class VendorTokens(Reply):
    tokens: list[VendorToken]


@vendors.post("/v1/connect/:vendor/register")
async def register(
    tx: Transaction, caller: Caller, vendor: Vendor, body: Credential, server: Server
) -> Success:
    """Keep a credential for the caller's own devices, in the place of a former one."""
    await must_be_in_use(tx, server.tokens, hold=True)
    sealed = server.vault.seal(vendor_path(caller.account, vendor), body.token)
    await storage.register(tx, caller.account, vendor, sealed)
    return Success()


@vendors.get("/v1/connect/:vendor/token")
async def token(tx: Transaction, caller: Caller, vendor: Vendor, server: Server) -> Token:
    """The credential; null if there is none, and if it can no longer be opened (T-9)."""
    sealed = await storage.token(tx, caller.account, vendor)
    return Token(token=None if sealed is None else await _opened(tx, server, caller.account, vendor, sealed))


@vendors.delete("/v1/connect/:vendor")
async def forget(tx: Transaction, caller: Caller, vendor: Vendor) -> Success:
    """Forget the credential; there need not be one (D4)."""
    await storage.remove(tx, caller.account, vendor)
    return Success()


@vendors.get("/v1/connect/tokens")
async def tokens(tx: Transaction, caller: Caller, server: Server) -> VendorTokens:
    """Every credential that can be opened, in the order they were first stored (D36)."""
    rows = await storage.all_of(tx, caller.account)
    opened = [(row.vendor, await _opened(tx, server, caller.account, row.vendor, row.sealed)) for row in rows]
    return VendorTokens(
        tokens=[VendorToken(vendor=vendor, token=text) for vendor, text in opened if text is not None]
    )


async def _opened(tx: Transaction, server: Server, account: str, vendor: str, sealed: bytes) -> str | None:
    """The plaintext, or None for what another master secret sealed or what is damaged.

    Raises SecretReplaced for what other nodes may be able to open.
    """
    try:
        return server.vault.open(vendor_path(account, vendor), sealed)
    except Unsealable:
        await must_be_in_use(tx, server.tokens)
        _log.warn("a stored credential for {vendor} cannot be opened", vendor=vendor)
        return None
