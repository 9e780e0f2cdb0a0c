"""Certificates for localhost and 127.0.0.1: a root, one below it, and the server's."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

_HOUR = timedelta(hours=1)
_USES = (
    "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign"
    " crl_sign encipher_only decipher_only"
)
_VOUCHES = x509.KeyUsage(**{use: use in ("key_cert_sign", "crl_sign") for use in _USES.split()})


class Authority:
    """Writes ``root.pem``, ``key.pem``, ``leaf.pem`` and ``chain.pem`` into a folder."""

    def __init__(self, folder: Path) -> None:
        self._root_key, self._middle_key, self._key = (ec.generate_private_key(ec.SECP256R1()) for _ in "rml")
        root = _certificate("Root", "Root", self._root_key, self._root_key, authority=True)
        self._middle = _certificate("Middle", "Root", self._middle_key, self._root_key, authority=True)
        self.root, self.key, self.leaf, self.chain = (
            folder / f"{name}.pem" for name in ("root", "key", "leaf", "chain")
        )
        self.root.write_bytes(_pem(root))
        self.renew()

    def renew(self) -> int:
        """Write a certificate with another serial number, which is answered."""
        leaf = _certificate("localhost", "Middle", self._key, self._middle_key, authority=False)
        self.key.write_bytes(self.private_key())
        self.leaf.write_bytes(_pem(leaf))
        self.chain.write_bytes(_pem(leaf) + _pem(self._middle))
        return leaf.serial_number

    def private_key(self, password: bytes = b"") -> bytes:
        """The server's key in PEM form."""
        how = BestAvailableEncryption(password) if password else NoEncryption()
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def _certificate(
    name: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    *,
    authority: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    subject, above = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, one)]) for one in (name, issuer)
    )
    here = ipaddress.ip_address("127.0.0.1")
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(here)])
    # Strict clients, as Python itself from 3.13 on, want to know whose key it is, and whose vouches for it.
    its = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    above_it = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _HOUR)
        .not_valid_after(now + _HOUR)
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(names, critical=False)
        .add_extension(its, critical=False)
        .add_extension(above_it, critical=False)
    )
    if authority:
        made = made.add_extension(_VOUCHES, critical=True)
    return made.sign(by, SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
