"""PEM in and out, with one plain error for what cannot be read."""

import hashlib
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from etcdplan.pki.errors import PkiError
from etcdplan.pki.secret import Secret

_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def load_certificate(pem: bytes) -> x509.Certificate:
    """Load the first certificate of `pem`: the one that a TLS server of that file presents as its own."""
    return load_certificates(pem)[0]


@lru_cache(maxsize=64)
def load_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Load every certificate of a PEM bundle; at least one, each readable in full. Raises PkiError."""
    try:
        certificates = tuple(x509.load_pem_x509_certificates(pem))
        for certificate in certificates:  # these fields are parsed only when they are read
            _ = certificate.public_key(), certificate.extensions, certificate.subject, certificate.issuer
            _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except _UNREADABLE:
        raise PkiError(
            "Not a PEM certificate, or a damaged one.",
            hint='It has to start with "-----BEGIN CERTIFICATE-----".',
        ) from None
    return certificates


def load_private_key(pem: Secret) -> PrivateKey:
    """Load an EC, RSA or Ed25519 private key from PEM (PKCS#8, SEC1 or PKCS#1). Raises PkiError."""
    try:
        key = serialization.load_pem_private_key(pem.reveal(), password=None)
    except TypeError:
        raise PkiError(
            "The private key is locked with a passphrase.",
            hint="Encrypt it with age instead; nobody can type a passphrase in automation.",
        ) from None
    except _UNREADABLE:
        # The library's own text can quote bytes of the input.
        raise PkiError(
            "Not a PEM private key, or a damaged one.",
            hint='Restore it from a copy. It has to start with "-----BEGIN", or be a file that age encrypted.',
        ) from None
    if not isinstance(key, PrivateKey):
        raise PkiError("The private key is of an unsupported kind: EC, RSA or Ed25519 is needed.")
    return key


def encode_private_key(key: PrivateKey) -> Secret:
    """Encode as PKCS#8 PEM, which Go, OpenSSL and Java all read."""
    return Secret(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def spki(public_key: PublicKeyTypes) -> bytes:
    """Encode the SubjectPublicKeyInfo (DER): what identifies a key, whatever certificate it is in."""
    return public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def spki_sha256(certificate: x509.Certificate) -> str:
    """Fingerprint a certificate's key: SHA-256 over its SubjectPublicKeyInfo, lower-case hex."""
    return hashlib.sha256(spki(certificate.public_key())).hexdigest()


def load_request(pem: bytes) -> x509.CertificateSigningRequest:
    """Load a certificate signing request whose own signature is good. Raises PkiError."""
    try:
        request = x509.load_pem_x509_csr(pem)
        valid = request.is_signature_valid
    except _UNREADABLE:
        raise PkiError("Not a PEM certificate signing request, or a damaged one.") from None
    if not valid:
        raise PkiError("The signing request is not signed by the key that it asks a certificate for.")
    return request
