"""Short-lived signatures that let an attachment address work without a bearer token (http.md D20).

The signature is one query member: expiry, account and code. It names the account that asked for the
address and is good for one method, one session and one file.
"""

from __future__ import annotations

import hmac
from typing import Literal

from happy.base.codecs import encode_base64url
from happy.keys.vault import Vault

LIFETIME = 900
"""Seconds that an address works, as long as one in S3 does."""

_PATH = ("attachments", "links")

Purpose = Literal["GET", "PUT"]


def sign(vault: Vault, now: float, purpose: Purpose, account: str, session: str, file: str) -> str:
    """The value of the query member ``signature``; ``now`` in epoch seconds."""
    claim = f"{int(now) + LIFETIME}.{account}"
    return f"{claim}.{_code(vault, claim, purpose, session, file)}"


def account_of(
    vault: Vault, now: float, purpose: Purpose, session: str, file: str, signature: str
) -> str | None:
    """The account that a signature was made for, or None if it is not valid here and now."""
    claim, _, code = signature.rpartition(".")
    expiry, _, account = claim.partition(".")
    expected = _code(vault, claim, purpose, session, file)
    if not hmac.compare_digest(expected.encode(), code.encode("utf-8", "surrogatepass")):
        return None
    return account if int(expiry) > now else None


def _code(vault: Vault, claim: str, purpose: Purpose, session: str, file: str) -> str:
    message = "\0".join((purpose, claim, session, file)).encode("utf-8", "surrogatepass")
    return encode_base64url(vault.sign(_PATH, message))
