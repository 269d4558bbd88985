"""Leaf certificates: a new key with its signing request, and facts of what is there."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from etcdplan.pki.pem import (
    encode_private_key,
    load_certificate,
    load_certificates,
    load_private_key,
    spki,
    spki_sha256,
)
from etcdplan.pki.secret import Secret

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


@dataclass(frozen=True)
class LeafFacts:
    """What a certificate says. Fingerprints and key IDs are lower-case hex, times Unix seconds (UTC).

    `dns_names` and `ip_addresses` are in the order of `authority.subject_alt_names`, so they compare with a
    `LeafRequest`'s by `==`. `server` and `client` are true too when the certificate leaves its use open.
    `subject_cn`, `issuer_cn` and `authority_key_id` are empty when absent.
    """

    subject_cn: str
    issuer_cn: str
    fingerprint: str
    spki_sha256: str
    authority_key_id: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    server: bool
    client: bool
    not_before: int
    not_after: int


def new_key_and_csr() -> tuple[Secret, bytes]:
    """Make an EC P-256 key (PKCS#8 PEM) and a signing request (PEM) that proves its possession.

    The request names nobody: names come from the signer's `LeafRequest`.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return encode_private_key(key), csr.public_bytes(serialization.Encoding.PEM)


def describe(certificate_pem: bytes) -> LeafFacts:
    """Give the facts of the first certificate of `certificate_pem`. Raises PkiError."""
    certificate = load_certificate(certificate_pem)
    names = _extension(certificate, x509.SubjectAlternativeName) or x509.SubjectAlternativeName([])
    usages = _extension(certificate, x509.ExtendedKeyUsage)
    authority = _extension(certificate, x509.AuthorityKeyIdentifier)
    key_id = authority.key_identifier if authority is not None else None

    def allows(usage: x509.ObjectIdentifier) -> bool:
        return usages is None or usage in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages

    return LeafFacts(
        subject_cn=_common_name(certificate.subject),
        issuer_cn=_common_name(certificate.issuer),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        spki_sha256=spki_sha256(certificate),
        authority_key_id=(key_id or b"").hex(),
        dns_names=_sorted(name.lower() for name in names.get_values_for_type(x509.DNSName)),
        ip_addresses=_sorted(names.get_values_for_type(x509.IPAddress)),
        server=allows(ExtendedKeyUsageOID.SERVER_AUTH),
        client=allows(ExtendedKeyUsageOID.CLIENT_AUTH),
        not_before=int(certificate.not_valid_before_utc.timestamp()),
        not_after=int(certificate.not_valid_after_utc.timestamp()),
    )


def verifies(certificate_pem: bytes, ca_pem: bytes) -> bool:
    """Tell whether a CA certificate of the bundle `ca_pem` signed the certificate. Looks at no dates.

    Checks the signature, the issuer's name and that the issuer may sign certificates. Raises PkiError when
    either PEM is malformed.
    """
    certificate = load_certificate(certificate_pem)
    return any(_signed_by(certificate, ca) for ca in load_certificates(ca_pem))


def leads_to(chain_pem: bytes, ca_pem: bytes) -> bool:
    """Tell whether a CA of the bundle issued a leaf, or one of the intermediate CAs behind it in its file.

    Looks at no dates. Raises PkiError when either PEM is malformed.
    """
    authorities = load_certificates(ca_pem)
    return any(_signed_by(one, ca) for one in load_certificates(chain_pem) for ca in authorities)


def is_authority(certificate: x509.Certificate) -> bool:
    """Tell whether the certificate is a CA's, fit to sign others (RFC 5280, 4.2.1.3 and 4.2.1.9)."""
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    return constraints is not None and constraints.ca and (usage is None or usage.key_cert_sign)


def key_matches(key_pem: Secret, certificate_pem: bytes) -> bool:
    """Tell whether the private key belongs to the certificate. Raises PkiError for malformed PEM."""
    public_key = load_certificate(certificate_pem).public_key()
    return spki(load_private_key(key_pem).public_key()) == spki(public_key)


def certifies(certificate_pem: bytes, public_key_pem: bytes) -> bool:
    """Tell whether the certificate is for this public key. Raises PkiError or ValueError for malformed PEM."""
    public_key = serialization.load_pem_public_key(public_key_pem)
    return spki(load_certificate(certificate_pem).public_key()) == spki(public_key)


def trust_spkis(bundle_pem: bytes) -> tuple[str, ...]:
    """Give the sorted SHA-256 SPKI fingerprints of a bundle's certificates: equal sets trust the same keys.

    Raises PkiError when the bundle is malformed or empty.
    """
    return _sorted(spki_sha256(certificate) for certificate in load_certificates(bundle_pem))


def _signed_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
        return is_authority(ca)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _common_name(name: x509.Name) -> str:
    return next((str(part.value) for part in name.get_attributes_for_oid(NameOID.COMMON_NAME)), "")


def _sorted(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(sorted({str(value) for value in values}))
