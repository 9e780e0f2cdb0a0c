"""End-to-end encryption as Happy's clients do it (tokens-and-crypto.md 6 to 8).

Keys are bytes. A *cipher* seals the values of one record: JSON values as base64 text, attachments as bytes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey
from nacl.secret import SecretBox
from nacl.signing import SigningKey
from nacl.utils import random as random_bytes

from happy.base.codecs import decode_base64, encode_base64
from happy.client._errors import Undecryptable

KEY_SIZE = 32
_VERSION = b"\x00"
_BOX_NONCE_SIZE = 24
_GCM_NONCE_SIZE = 12
_GCM_TAG_SIZE = 16


class Cipher(Protocol):
    """Seals and opens the contents of one record."""

    def seal(self, value: Any) -> str:
        """A JSON value as sealed base64 text."""

    def open(self, text: str) -> Any:
        """The JSON value of a sealed text. Raises Undecryptable."""

    def seal_blob(self, data: bytes) -> bytes:
        """An attachment, sealed."""

    def open_blob(self, sealed: bytes) -> bytes:
        """The bytes of a sealed attachment. Raises Undecryptable."""

    def wrapped_for(self, content_public_key: bytes) -> str | None:
        """What to store as the record's ``dataEncryptionKey``."""


class _BlobCipher:
    """Seals attachments with a key derived for that (NaCl secretbox)."""

    def __init__(self, key: bytes, purpose: str) -> None:
        self._blobs = SecretBox(derive_key(key, "Happy Blobs", [purpose]))

    def seal_blob(self, data: bytes) -> bytes:
        """An attachment as nonce (24), tag (16) and ciphertext."""
        return _seal_secretbox(self._blobs, data)

    def open_blob(self, sealed: bytes) -> bytes:
        """The bytes of a sealed attachment. Raises Undecryptable."""
        return _open_secretbox(self._blobs, sealed)


class LegacyCipher(_BlobCipher):
    """Seals with the account secret itself (NaCl secretbox); records without a key of their own."""

    def __init__(self, secret: bytes) -> None:
        super().__init__(secret, "master")
        self._box = SecretBox(secret)

    def seal(self, value: Any) -> str:
        """A JSON value as base64 of nonce (24), tag (16) and ciphertext."""
        return encode_base64(_seal_secretbox(self._box, msgspec.json.encode(value)))

    def open(self, text: str) -> Any:
        """The JSON value of a sealed text. Raises Undecryptable."""
        return _json(_open_secretbox(self._box, _bytes(text)))

    def wrapped_for(self, content_public_key: bytes) -> None:
        """None: the account secret is never stored."""


class DataKeyCipher(_BlobCipher):
    """Seals with a random key of the record's own (AES-256-GCM)."""

    def __init__(self, key: bytes) -> None:
        super().__init__(key, "session")
        self.key = key
        self._aead = AESGCM(key)

    @classmethod
    def generate(cls) -> DataKeyCipher:
        """A cipher with a new random key."""
        return cls(random_bytes(KEY_SIZE))

    def seal(self, value: Any) -> str:
        """A JSON value as base64 of a zero byte, nonce (12), ciphertext and tag (16)."""
        nonce = random_bytes(_GCM_NONCE_SIZE)
        sealed = self._aead.encrypt(nonce, msgspec.json.encode(value), None)
        return encode_base64(_VERSION + nonce + sealed)

    def open(self, text: str) -> Any:
        """The JSON value of a sealed text. Raises Undecryptable."""
        sealed = _bytes(text)
        if sealed[:1] != _VERSION or len(sealed) < 1 + _GCM_NONCE_SIZE + _GCM_TAG_SIZE:
            raise Undecryptable("not a text sealed with a data key")
        nonce, ciphertext = sealed[1 : 1 + _GCM_NONCE_SIZE], sealed[1 + _GCM_NONCE_SIZE :]
        try:
            return _json(self._aead.decrypt(nonce, ciphertext, None))
        except InvalidTag:
            raise Undecryptable("the text was sealed with another key") from None

    def wrapped_for(self, content_public_key: bytes) -> str:
        """The data key for the holder of the account secret: base64 of 105 bytes."""
        return encode_base64(_VERSION + seal_box(self.key, content_public_key))


class Keys(Protocol):
    """What a device knows, and so which records it can make and read."""

    content_public_key: bytes

    def new_cipher(self) -> Cipher:
        """The cipher of a session that this device creates."""

    def machine_cipher(self) -> Cipher:
        """The cipher of the machine that this device is."""

    def cipher_of(self, wrapped: str | None) -> Cipher:
        """The cipher of a stored record, by its ``dataEncryptionKey``. Raises Undecryptable."""


class AccountKeys:
    """A device that knows the account secret (32 bytes): the app, or a terminal in legacy mode.

    It reads every record of the account; its own are sealed with the secret itself.
    """

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self.signing_key = SigningKey(secret)
        self.content_key = PrivateKey.from_seed(derive_key(secret, "Happy EnCoder", ["content"]))
        self.content_public_key = bytes(self.content_key.public_key)

    @classmethod
    def generate(cls) -> AccountKeys:
        """The keys of an account that does not exist yet."""
        return cls(random_bytes(KEY_SIZE))

    @classmethod
    def from_backup(cls, text: str) -> AccountKeys:
        """Read what :attr:`backup` shows. Raises ValueError."""
        digits = text.replace("-", "").upper()
        secret = base64.b32decode(digits + "=" * (-len(digits) % 8))
        if len(secret) != KEY_SIZE:
            raise ValueError("a backup has 52 letters and digits")
        return cls(secret)

    @property
    def backup(self) -> str:
        """The secret for a human to write down: base32 in groups of five."""
        digits = base64.b32encode(self.secret).decode().rstrip("=")
        return "-".join(digits[start : start + 5] for start in range(0, len(digits), 5))

    @property
    def public_key(self) -> bytes:
        """The key that names the account to the server (Ed25519)."""
        return bytes(self.signing_key.verify_key)

    @property
    def analytics_id(self) -> str:
        """The pseudonym of the account, 16 hexadecimal digits."""
        return derive_key(self.secret, "Happy Coder", ["analytics", "id"]).hex()[:16]

    def login(self, challenge: bytes | None = None) -> dict[str, str]:
        """The body of a login request: a challenge (random unless given) and its signature."""
        challenge = random_bytes(32) if challenge is None else challenge
        return {
            "publicKey": encode_base64(self.public_key),
            "challenge": encode_base64(challenge),
            "signature": encode_base64(self.signing_key.sign(challenge).signature),
        }

    def new_cipher(self) -> Cipher:
        """The account's own cipher."""
        return LegacyCipher(self.secret)

    machine_cipher = new_cipher

    def cipher_of(self, wrapped: str | None) -> Cipher:
        """The cipher of any record of the account. Raises Undecryptable."""
        if wrapped is None:
            return LegacyCipher(self.secret)
        bundle = _bytes(wrapped)
        if bundle[:1] != _VERSION:
            raise Undecryptable("not a wrapped data key of version 0")
        return DataKeyCipher(open_box(bundle[1:], self.content_key))


class TerminalKeys:
    """A paired terminal that does not know the account secret (data-key mode).

    It can seal for the account, and reads only records whose key it made itself.
    """

    def __init__(self, content_public_key: bytes, machine_key: bytes | None = None) -> None:
        self.content_public_key = content_public_key
        self.machine_key = machine_key or random_bytes(KEY_SIZE)

    def new_cipher(self) -> Cipher:
        """A cipher with a new data key."""
        return DataKeyCipher.generate()

    def machine_cipher(self) -> Cipher:
        """The cipher with this terminal's machine key."""
        return DataKeyCipher(self.machine_key)

    def cipher_of(self, wrapped: str | None) -> Cipher:
        """Never possible: a wrapped key opens with the account secret only. Raises Undecryptable."""
        raise Undecryptable("this terminal does not hold the account secret")


def derive_key(secret: bytes, usage: str, path: Sequence[str]) -> bytes:
    """The 32-byte key for ``path`` of the tree that ``usage`` roots in a 32-byte secret."""
    node = hmac.digest(f"{usage} Master Seed".encode(), secret, hashlib.sha512)
    for name in path:
        node = hmac.digest(node[32:], b"\x00" + name.encode(), hashlib.sha512)
    return node[:32]


def seal_box(data: bytes, recipient: bytes) -> bytes:
    """Encrypt for the holder of a public key: fresh public key (32), nonce (24), NaCl box."""
    ephemeral = PrivateKey(random_bytes(KEY_SIZE))
    box = Box(ephemeral, PublicKey(recipient))
    return bytes(ephemeral.public_key) + box.encrypt(data, random_bytes(_BOX_NONCE_SIZE))


def open_box(bundle: bytes, key: PrivateKey) -> bytes:
    """Open what :func:`seal_box` made. Raises Undecryptable."""
    try:
        return Box(key, PublicKey(bundle[:KEY_SIZE])).decrypt(bundle[KEY_SIZE:])
    except (CryptoError, ValueError):
        raise Undecryptable("the bundle was sealed for another key") from None


def _seal_secretbox(box: SecretBox, data: bytes) -> bytes:
    return bytes(box.encrypt(data, random_bytes(_BOX_NONCE_SIZE)))


def _open_secretbox(box: SecretBox, sealed: bytes) -> bytes:
    try:
        return box.decrypt(sealed)
    except (CryptoError, ValueError):
        raise Undecryptable("sealed with another key") from None


def _bytes(text: str) -> bytes:
    try:
        return decode_base64(text)
    except ValueError:
        raise Undecryptable("not base64") from None


def _json(plaintext: bytes) -> Any:
    try:
        return msgspec.json.decode(plaintext)
    except ValueError:
        raise Undecryptable("the plaintext is no JSON") from None
