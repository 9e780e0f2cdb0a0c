"""Certificates of a server from files, with the chain that goes out to clients."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    ContextFactory,
    DiffieHellmanParameters,
    KeyPair,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_CERTIFICATE = re.compile(
    rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----.+?-----END (?:TRUSTED |X509 )?CERTIFICATE-----",
    re.DOTALL,
)
_KEY = re.compile(rb"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----.+?-----END \1-----", re.DOTALL)


class BadCertificate(Exception):
    """Files that no server can use; the text says why, in one line."""


class ServerCertificate(ContextFactory):
    """What a port of TLS shows to clients: the certificates of its files as they are at :meth:`load`.

    ``key`` is the file of the private key. ``chain`` holds the server's own certificate first, then those
    between it and the root, of which more may be in ``more``.
    """

    def __init__(
        self, key: Path, chain: Path, more: Path | None = None, parameters: Path | None = None
    ) -> None:
        self._key, self._chain, self._more, self._parameters = key, chain, more, parameters
        self._context: Any = None

    @classmethod
    def named(cls, names: Mapping[str, str]) -> ServerCertificate:
        """The files that the members of an endpoint's description name, as Twisted has them."""
        key = names.get("privateKey", "server.pem")
        more, parameters = names.get("extraCertChain"), names.get("dhParameters")
        return cls(
            Path(key),
            Path(names.get("certKey", key)),
            Path(more) if more else None,
            Path(parameters) if parameters else None,
        )

    def load(self) -> None:
        """Read the files for new connections. Raises BadCertificate, and then nothing has changed."""
        certificate, *between = self._certificates()
        key = self._private_key()
        parameters = None
        if self._parameters is not None:
            parameters = DiffieHellmanParameters(_read(self._parameters).decode("latin-1"))
        try:
            options = CertificateOptions(
                privateKey=key.original.to_cryptography_key(),
                certificate=certificate.original.to_cryptography(),
                extraCertChain=[one.original.to_cryptography() for one in between],
                dhParameters=parameters,
            )
            self._context = options.getContext()
        except Exception:  # OpenSSL's errors are lists of numbers and names
            raise BadCertificate(
                f"the key in {self._key} does not belong to the first certificate in {self._chain}"
            ) from None

    def getContext(self) -> Any:
        """What Twisted asks for with each connection."""
        return self._context

    def _certificates(self) -> list[Certificate]:
        found = []
        for file in (self._chain, *([self._more] if self._more else ())):
            blocks = [block[0] for block in _CERTIFICATE.finditer(_read(file))]
            if not blocks:
                raise BadCertificate(f"{file} holds no certificate in PEM form")
            try:
                found += [Certificate.loadPEM(block) for block in blocks]
            except Exception:
                raise BadCertificate(f"{file} holds a certificate that cannot be read") from None
        return _once(found)

    def _private_key(self) -> KeyPair:
        block = _KEY.search(content := _read(self._key))
        if block is None:
            raise BadCertificate(f"{self._key} holds no private key in PEM form")
        if b"ENCRYPTED" in block[0]:  # OpenSSL would ask the terminal
            raise BadCertificate(f"the key in {self._key} has a password; a server needs one without")
        try:
            return KeyPair.load(content[block.start() : block.end()] + b"\n", 1)
        except Exception:
            raise BadCertificate(f"{self._key} holds a private key that cannot be read") from None


def _once(certificates: list[Certificate]) -> list[Certificate]:
    """The same without repetitions: a chain's file often begins with the certificate itself."""
    return list({one.digest("sha256"): one for one in certificates}.values())


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadCertificate(f"{file} cannot be read: {error.strerror}") from None
