"""Ed25519 signatures over manifests: age recipients are public, so anybody could forge a snapshot."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from etcdplan.backup.errors import BackupError
from etcdplan.pki.keyfile import read_key
from etcdplan.pki.pem import load_private_key
from etcdplan.pki.secret import Secret


def new_signing_key() -> tuple[Secret, bytes]:
    """Make a key (PKCS#8, PEM) and its public key (PEM), which `openssl pkeyutl -verify` takes."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Secret(private), _public_pem(key.public_key())


class Signer:
    """Signs with one key."""

    def __init__(self, path: Path, *, identities: Sequence[Path] = ()) -> None:
        """Read the key; raise `PkiError`, or `BackupError` when it is of another kind."""
        key = load_private_key(read_key(path, identities=identities))
        if not isinstance(key, Ed25519PrivateKey):
            raise BackupError(
                f"{path} is not an Ed25519 key.", hint="etcdplan backup keygen makes one for signing backups."
            )
        self._key = key

    @property
    def public(self) -> "PublicKey":
        """The key that checks the signatures."""
        return PublicKey(_public_pem(self._key.public_key()), "the signing key")

    def sign(self, content: bytes) -> bytes:
        """Return the 64 bytes of a signature."""
        return self._key.sign(content)


class PublicKey:
    """Checks signatures of one key."""

    def __init__(self, pem: bytes, name: str) -> None:
        """Read a key from PEM; `name` is for errors. Raises `BackupError`."""
        try:
            key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise BackupError(
                f"{name} is not an Ed25519 public key.",
                hint='It has to start with "-----BEGIN PUBLIC KEY-----"; etcdplan backup keygen writes it.',
            )
        self._key = key

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the raw key, hex."""
        raw = self._key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return hashlib.sha256(raw).hexdigest()

    def signed(self, content: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's over the content."""
        try:
            self._key.verify(signature, content)
        except InvalidSignature:
            return False
        return True


def _public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
