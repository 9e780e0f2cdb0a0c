"""Encryption of stored credentials, against the vectors (tokens-and-crypto.md 5)."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from happy.keys.vault import Unsealable, Vault, derive_key
from tests.vectors import VECTORS

ENTRIES = [
    pytest.param(
        bytes.fromhex(tree["master_hex"]), entry, id=f"{tree['seed_utf8'][:12]}-{entry['path'][-2]}-{n}"
    )
    for tree in VECTORS["key_tree"]
    for n, entry in enumerate(tree["entries"])
]
GENERIC = VECTORS["key_tree_generic"]
PATH = ("user", "u", "vendors", "openai", "token")


@pytest.mark.parametrize(("master", "entry"), ENTRIES)
def test_vector(master: bytes, entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, plaintexts and (with the same nonce) ciphertexts are those of existing deployments."""
    vault, path = Vault(master), entry["path"]
    sealed = bytes.fromhex(entry["blob_hex"])
    assert derive_key(master, path).hex() == entry["symmetric_key_hex"]
    assert vault.open(path, sealed) == entry["plaintext_utf8"]
    monkeypatch.setattr("happy.keys.vault.secrets.token_bytes", lambda size: sealed[1 : 1 + size])
    assert vault.seal(path, entry["plaintext_utf8"]) == sealed


def test_generic_tree() -> None:
    """The tree itself: root, keys of other purposes, and a subtree as a chain value."""
    root = GENERIC["root"]
    digest = hmac.digest(f"{root['usage']} Master Seed".encode(), root["seed_utf8"].encode(), hashlib.sha512)
    key, chain = digest[:32], digest[32:]
    assert (key.hex(), chain.hex()) == (root["key_hex"], root["chain_code_hex"])
    assert derive_key(chain, GENERIC["symmetric"]["path"]).hex() == GENERIC["symmetric"]["key_hex"]
    whole = [*GENERIC["subtree"]["path"], *GENERIC["subtree"]["then"]]
    assert derive_key(chain, whole).hex() == GENERIC["subtree"]["key_hex"]
    keyed = derive_key(chain, GENERIC["hmac"]["path"], purpose="hmac_sha512")
    digest = hmac.digest(keyed, GENERIC["hmac"]["data_utf8"].encode(), hashlib.sha512)
    assert digest.hex() == GENERIC["hmac"]["output_hex"]


@pytest.mark.parametrize("name", GENERIC["errors"])
def test_purpose_marks_are_no_path_elements(name: str) -> None:
    """A path element that begins with a number sign is refused for both directions."""
    vault = Vault(bytes(64))
    with pytest.raises(ValueError):
        vault.seal(["user", name], "x")
    with pytest.raises(ValueError):
        vault.open(["user", name], bytes(40))


def test_round_trip_with_a_fresh_nonce() -> None:
    """What was sealed opens again, and sealing twice gives different bytes."""
    vault = Vault(bytes(range(64)))
    first, second = vault.seal(PATH, "sécret"), vault.seal(PATH, "sécret")
    assert first != second
    assert vault.open(PATH, first) == vault.open(PATH, second) == "sécret"
    assert len(vault.seal(PATH, "")) == 29


@pytest.mark.parametrize(
    "damage",
    [
        lambda sealed: b"",
        lambda sealed: sealed[:28],
        lambda sealed: b"\1" + sealed[1:],
        lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1]),
        lambda sealed: sealed[:5] + bytes([sealed[5] ^ 1]) + sealed[6:],
    ],
)
def test_damage_is_reported(damage: Any) -> None:
    """Every kind of damage raises Unsealable."""
    vault = Vault(bytes(64))
    with pytest.raises(Unsealable):
        vault.open(PATH, damage(vault.seal(PATH, "secret")))


def test_other_path_and_other_master() -> None:
    """A text opens only with the path and the master that it was sealed with."""
    sealed = Vault(bytes(64)).seal(PATH, "secret")
    with pytest.raises(Unsealable):
        Vault(bytes(64)).open(("user", "u", "vendors", "gemini", "token"), sealed)
    with pytest.raises(Unsealable):
        Vault(b"\1" * 64).open(PATH, sealed)


def test_plaintext_is_text() -> None:
    """Bytes that are no UTF-8 are damage, even when they decrypt."""
    nonce = bytes(12)
    sealed = AESGCM(derive_key(bytes(64), PATH)).encrypt(nonce, b"\xff", None)
    with pytest.raises(Unsealable):
        Vault(bytes(64)).open(PATH, b"\0" + nonce + sealed)
