"""The client's encryption, against the vectors (tokens-and-crypto.md 6 to 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import PrivateKey

from happy.base.codecs import decode_base64, encode_base64
from happy.client import (
    AccountKeys,
    Cipher,
    DataKeyCipher,
    LegacyCipher,
    TerminalKeys,
    Undecryptable,
    derive_key,
    open_box,
    seal_box,
)
from tests.vectors import VECTORS

CLIENT = VECTORS["client"]
DERIVED, CONTENT = CLIENT["derived"], CLIENT["content"]
SECRET = bytes.fromhex(CLIENT["account_secret_hex"])
DATA_KEY = bytes.fromhex(CONTENT["data_key_hex"])
KEYS = AccountKeys(SECRET)
VALUE = msgspec.json.decode(CONTENT["plaintext_json"])

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)

Give = Callable[..., None]


@pytest.fixture
def randomness(monkeypatch: pytest.MonkeyPatch) -> Give:
    """Decide what the random generator gives next."""

    def give(*values: bytes) -> None:
        left = list(values)
        monkeypatch.setattr("happy.client.crypto.random_bytes", lambda size: left.pop(0))

    return give


def test_login_vector() -> None:
    """A login request is that of the real clients."""
    vector = CLIENT["auth_challenge"]
    assert KEYS.login(bytes.fromhex(vector["challenge_hex"])) == vector["request_body"]
    assert KEYS.public_key.hex().upper() == vector["account_public_key_as_stored"]


def test_challenges_are_fresh() -> None:
    """Unless told otherwise, every login signs a challenge of its own."""
    assert KEYS.login()["challenge"] != KEYS.login()["challenge"]


def test_derived_vectors() -> None:
    """Everything derived from the account secret is what real clients derive."""
    assert derive_key(SECRET, "Happy EnCoder", ["content"]).hex() == DERIVED["content_seed_hex"]
    assert bytes(KEYS.content_key).hex() == DERIVED["content_secret_key_hex"]
    assert KEYS.content_public_key.hex() == DERIVED["content_public_key_hex"]
    assert derive_key(SECRET, "Happy Coder", ["analytics", "id"]).hex() == DERIVED["analytics_key_hex"]
    assert KEYS.analytics_id == DERIVED["anon_id"]
    assert derive_key(SECRET, "Happy Blobs", ["master"]).hex() == DERIVED["master_blob_key_hex"]
    assert derive_key(DATA_KEY, "Happy Blobs", ["session"]).hex() == CONTENT["session_blob_key_hex"]


def test_backup_vector() -> None:
    """The human-readable form is that of the real clients, and reads back in any case and grouping."""
    assert KEYS.backup == DERIVED["backup_format"]
    assert AccountKeys.from_backup(KEYS.backup.lower()).secret == SECRET
    with pytest.raises(ValueError):
        AccountKeys.from_backup(KEYS.backup[:-8])


def test_content_vectors() -> None:
    """Texts and attachments sealed by real clients open, in both variants."""
    legacy, data_key = LegacyCipher(SECRET), DataKeyCipher(DATA_KEY)
    blob = bytes.fromhex(CONTENT["blob_plain_hex"])
    assert legacy.open(CONTENT["legacy_secretbox_b64"]) == VALUE
    assert data_key.open(CONTENT["aes_gcm_bundle_b64"]) == VALUE
    assert legacy.open_blob(bytes.fromhex(CONTENT["blob_encrypted_legacy_hex"])) == blob
    assert data_key.open_blob(bytes.fromhex(CONTENT["blob_encrypted_hex"])) == blob


def test_sealing_is_byte_for_byte_that_of_real_clients(randomness: Give) -> None:
    """With the same nonces, both variants seal texts and attachments to the same bytes."""
    legacy, data_key = LegacyCipher(SECRET), DataKeyCipher(DATA_KEY)
    blob = bytes.fromhex(CONTENT["blob_plain_hex"])
    randomness(decode_base64(CONTENT["legacy_secretbox_b64"])[:24])
    assert legacy.seal(VALUE) == CONTENT["legacy_secretbox_b64"]
    randomness(decode_base64(CONTENT["aes_gcm_bundle_b64"])[1:13])
    assert data_key.seal(VALUE) == CONTENT["aes_gcm_bundle_b64"]
    for cipher, sealed in ((legacy, "blob_encrypted_legacy_hex"), (data_key, "blob_encrypted_hex")):
        expected = bytes.fromhex(CONTENT[sealed])
        randomness(expected[:24])
        assert cipher.seal_blob(blob) == expected


def test_wrapped_data_key_vector() -> None:
    """The holder of the account secret finds the data key of a record, and no other holder does."""
    cipher = KEYS.cipher_of(CONTENT["wrapped_data_key_b64"])
    assert cipher.open(CONTENT["aes_gcm_bundle_b64"]) == VALUE
    with pytest.raises(Undecryptable):
        AccountKeys.generate().cipher_of(CONTENT["wrapped_data_key_b64"])


def test_wrapping() -> None:
    """A wrapped key has the size and the version of the contract; legacy records have none."""
    wrapped = DataKeyCipher(DATA_KEY).wrapped_for(KEYS.content_public_key)
    assert len(wrapped) == 140
    assert decode_base64(wrapped)[0] == 0
    assert KEYS.cipher_of(wrapped).open(CONTENT["aes_gcm_bundle_b64"]) == VALUE
    assert KEYS.new_cipher().wrapped_for(KEYS.content_public_key) is None
    assert KEYS.cipher_of(None).open(CONTENT["legacy_secretbox_b64"]) == VALUE


@pytest.mark.parametrize("wrapped", ["", "AA", "AAAA", encode_base64(b"\1" + bytes(104)), "not base64"])
def test_what_is_no_wrapped_key(wrapped: str) -> None:
    """A stored key that makes no sense is reported as undecryptable."""
    with pytest.raises(Undecryptable):
        KEYS.cipher_of(wrapped)


def test_pairing_vectors() -> None:
    """Both response formats and the account response of real clients open."""
    cli, app = CLIENT["pairing"]["cli_style"], CLIENT["pairing"]["app_style"]
    terminal = PrivateKey(bytes.fromhex(cli["ephemeral_secret_hex"]))
    for version in ("v1", "v2"):
        plaintext = open_box(decode_base64(cli[f"response_{version}_b64"]), terminal)
        assert plaintext.hex() == cli[f"response_{version}_plain_hex"]
    linked = PrivateKey.from_seed(bytes.fromhex(app["seed_hex"]))
    assert bytes(linked).hex() == app["secret_hex"]
    assert bytes(linked.public_key).hex() == app["public_hex"]
    assert open_box(decode_base64(app["response_b64"]), linked) == SECRET


def test_box_bundle_layout(randomness: Give) -> None:
    """A bundle is the fresh public key, the nonce and the box, and the sender alone cannot read it."""
    recipient, ephemeral = PrivateKey(b"\2" * 32), PrivateKey(b"\3" * 32)
    randomness(bytes(ephemeral), b"\4" * 24)
    bundle = seal_box(b"x" * 33, bytes(recipient.public_key))
    assert len(bundle) == 105
    assert bundle[:56] == bytes(ephemeral.public_key) + b"\4" * 24
    assert open_box(bundle, recipient) == b"x" * 33
    with pytest.raises(Undecryptable):
        open_box(bundle, ephemeral)


@pytest.mark.parametrize("bundle", [b"", bytes(31), bytes(56), bytes(105)])
def test_damaged_bundles(bundle: bytes) -> None:
    """Bytes that are no bundle are reported as undecryptable."""
    with pytest.raises(Undecryptable):
        open_box(bundle, PrivateKey(b"\2" * 32))


@pytest.mark.parametrize("cipher", [LegacyCipher(SECRET), DataKeyCipher(DATA_KEY)])
class TestBothVariants:
    """What holds for legacy records and for those with a data key."""

    @given(value=JSON)
    def test_round_trip(self, cipher: Cipher, value: Any) -> None:
        """Any JSON value comes back."""
        assert cipher.open(cipher.seal(value)) == value

    def test_attachments(self, cipher: Cipher) -> None:
        """Bytes come back, and are sealed with another key than texts."""
        sealed = cipher.seal_blob(b"\x89PNG")
        assert cipher.open_blob(sealed) == b"\x89PNG"
        with pytest.raises(Undecryptable):
            cipher.open(encode_base64(sealed))

    @pytest.mark.parametrize(
        "text", ["", "****", "AAAA", encode_base64(bytes(60)), encode_base64(b"\1" * 60)]
    )
    def test_garbage(self, cipher: Cipher, text: str) -> None:
        """What was not sealed with the key is reported as undecryptable."""
        with pytest.raises(Undecryptable):
            cipher.open(text)

    def test_garbage_attachment(self, cipher: Cipher) -> None:
        """The same holds for attachments, also for short ones."""
        for sealed in (b"", bytes(10), bytes(60)):
            with pytest.raises(Undecryptable):
                cipher.open_blob(sealed)


def test_plaintext_that_is_no_json() -> None:
    """A correctly sealed text that holds no JSON is reported as undecryptable."""
    sealed = AESGCM(DATA_KEY).encrypt(bytes(12), b"{", None)
    with pytest.raises(Undecryptable):
        DataKeyCipher(DATA_KEY).open(encode_base64(b"\0" + bytes(12) + sealed))


def test_terminal_without_the_account_secret() -> None:
    """A paired terminal seals for the account, which reads it, and cannot read other records itself."""
    terminal = TerminalKeys(KEYS.content_public_key)
    for cipher in (terminal.new_cipher(), terminal.machine_cipher()):
        wrapped = cipher.wrapped_for(terminal.content_public_key)
        assert KEYS.cipher_of(wrapped).open(cipher.seal(VALUE)) == VALUE
        with pytest.raises(Undecryptable):
            terminal.cipher_of(wrapped)
    assert terminal.machine_cipher().open(terminal.machine_cipher().seal(1)) == 1
    with pytest.raises(Undecryptable):
        terminal.new_cipher().open(terminal.new_cipher().seal(1))
