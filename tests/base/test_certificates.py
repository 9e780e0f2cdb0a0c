"""Certificates from files: what is shown to clients, and what no server can use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from happy.base.certificates import BadCertificate, ServerCertificate
from tests.base.certificates import Authority


@pytest.fixture
def made(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_files(made: Authority) -> None:
    """A chain in one file, in two, with repetitions, and all of it in the key's file."""
    ServerCertificate(made.key, made.chain).load()
    ServerCertificate(made.key, made.leaf, more=made.chain).load()
    ServerCertificate.named({"privateKey": str(made.key), "certKey": str(made.chain)}).load()
    made.chain.write_bytes(made.key.read_bytes() + made.chain.read_bytes().replace(b"\n", b"\r\n"))
    ServerCertificate.named({"privateKey": str(made.chain)}).load()


BREAK: dict[str, Callable[[Authority], object]] = {
    "chain.pem cannot be read: No such file": lambda made: made.chain.unlink(),
    "key.pem cannot be read: No such file": lambda made: made.key.unlink(),
    "chain.pem holds no certificate in PEM form": lambda made: made.chain.write_bytes(b"\0"),
    "chain.pem holds a certificate that cannot be read": lambda made: made.chain.write_text(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    ),
    "key.pem holds no private key in PEM form": lambda made: made.key.write_bytes(made.leaf.read_bytes()),
    "key.pem holds a private key that cannot be read": lambda made: made.key.write_text(
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    ),
    "key.pem has a password": lambda made: made.key.write_bytes(made.private_key(b"secret")),
    "does not belong to the first certificate": lambda made: made.chain.write_bytes(made.root.read_bytes()),
}


@pytest.mark.parametrize("told", BREAK)
def test_what_no_server_can_use(made: Authority, told: str) -> None:
    """The reason is one line that names the file, and what was loaded before stays."""
    certificate = ServerCertificate(made.key, made.chain)
    certificate.load()
    before = certificate.getContext()
    BREAK[told](made)
    with pytest.raises(BadCertificate, match=told) as bad:
        certificate.load()
    assert "\n" not in str(bad.value)
    assert certificate.getContext() is before
