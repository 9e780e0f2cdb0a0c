"""Encryption at rest of third-party credentials (tokens-and-crypto.md 5)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = b"\x00"
_NONCE_SIZE = 12
_TAG_SIZE = 16


FORMER_PATH = ("secret", "former")
"""Where the vault of a secret that follows another keeps the other's master, in hexadecimal digits."""


class Unsealable(Exception):
    """A stored secret that this vault cannot open: another key, another path, or damaged bytes."""


class Vault:
    """Seals texts under keys derived from a 64-byte master, one key for each path.

    A sealed text is a version byte 0, a random nonce (12), the AES-256-GCM ciphertext and its tag (16).
    """

    def __init__(self, master: bytes) -> None:
        self._master = master

    def seal(self, path: Sequence[str], plaintext: str) -> bytes:
        """Encrypt ``plaintext`` for ``path``. Raises ValueError for a path element that begins with ``#``."""
        nonce = secrets.token_bytes(_NONCE_SIZE)
        sealed = AESGCM(derive_key(self._master, path)).encrypt(nonce, plaintext.encode(), None)
        return _VERSION + nonce + sealed

    def open(self, path: Sequence[str], sealed: bytes) -> str:
        """The plaintext of what :meth:`seal` made for the same path. Raises Unsealable."""
        if sealed[:1] != _VERSION or len(sealed) < 1 + _NONCE_SIZE + _TAG_SIZE:
            raise Unsealable("not a sealed text of version 0")
        nonce, ciphertext = sealed[1 : 1 + _NONCE_SIZE], sealed[1 + _NONCE_SIZE :]
        try:
            return AESGCM(derive_key(self._master, path)).decrypt(nonce, ciphertext, None).decode()
        except (InvalidTag, UnicodeDecodeError):
            raise Unsealable("the text was sealed otherwise or is damaged") from None

    def sign(self, path: Sequence[str], message: bytes) -> bytes:
        """A code (32 bytes) that only this vault can make for ``message``; compare it in constant time.

        The key belongs to ``path`` and is none that seals. Raises ValueError as :meth:`seal` does.
        """
        key = derive_key(self._master, path, purpose="hmac_sha256")
        return hmac.digest(key, message, hashlib.sha256)


def vendor_path(account: str, vendor: str) -> tuple[str, ...]:
    """Where an account's credential for a vendor is sealed."""
    return ("user", account, "vendors", vendor, "token")


def github_path(account: str) -> tuple[str, ...]:
    """Where the token of the GitHub user is sealed that an account is linked to."""
    return ("user", account, "github", "token")


def derive_key(chain: bytes, path: Sequence[str], *, purpose: str = "aes256") -> bytes:
    """The 32-byte key of ``path`` below ``chain``.

    Raises ValueError for a path element that begins with ``#``, which marks purposes.
    """
    for name in path:
        if name.startswith("#"):
            raise ValueError(f"a path element begins with '#': {name!r}")
        chain = _step(chain, name)[1]
    return _step(chain, "#" + purpose)[0]


def _step(chain: bytes, name: str) -> tuple[bytes, bytes]:
    """One level down the tree: the key and the chain value of the child called ``name``."""
    digest = hmac.digest(chain, b"\x00" + name.encode(), hashlib.sha512)
    return digest[:32], digest[32:]
