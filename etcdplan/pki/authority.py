"""A certificate authority for one etcd cluster: its own certificate, and the leaves that it signs."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from etcdplan.pki.errors import PkiError
from etcdplan.pki.leaf import is_authority, key_matches
from etcdplan.pki.pem import PrivateKey, encode_private_key, load_certificate, load_private_key, load_request
from etcdplan.pki.secret import Secret

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far back certificates start, so that a host whose clock is a little slow accepts them."""

MAX_DAYS: Final = 100 * 365

# RFC 1123, and the underscore that resolvers accept; a last label of digits is a mistyped address.
_LABEL: Final = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_DNS_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z)(\*\.)?({_LABEL}\.)*(?![0-9]+\Z){_LABEL}\Z")


@dataclass(frozen=True)
class LeafRequest:
    """What a leaf certificate is to say. The names are brought into the form of `subject_alt_names`.

    etcd needs `server` and `client` for server certificates (its gateway dials itself with them) and for
    peer certificates (used for listening and dialling), `client` alone for clients. A peer certificate must
    hold the host of its peer URL and the address that the other members see its connections come from.
    Raises PkiError for an invalid name, no usage, or a server without names (clients would refuse it).
    """

    common_name: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    server: bool
    client: bool

    def __post_init__(self) -> None:
        _check_common_name(self.common_name)
        dns_names, ip_addresses = subject_alt_names((*self.dns_names, *self.ip_addresses))
        object.__setattr__(self, "dns_names", dns_names)
        object.__setattr__(self, "ip_addresses", ip_addresses)
        if not self.server and not self.client:
            raise PkiError(
                f"The certificate for {self.common_name!r} would be of no use: neither server nor client."
            )
        if self.server and not dns_names and not ip_addresses:
            raise PkiError(
                f"The server certificate for {self.common_name!r} names no host.",
                hint="Give the DNS names and addresses that clients dial.",
            )


@dataclass(frozen=True)
class Authority:
    """A CA certificate (PEM) with its private key (PEM). Raises PkiError unless the two make a CA.

    Any EC, RSA or Ed25519 CA will do, such as one that kubeadm made.
    """

    certificate_pem: bytes
    key: Secret

    def __post_init__(self) -> None:
        certificate = load_certificate(self.certificate_pem)
        if not is_authority(certificate):
            raise PkiError("The certificate is not a CA's: it may not sign others.")
        if not key_matches(self.key, self.certificate_pem):
            raise PkiError(
                "The private key does not belong to the CA certificate.",
                hint="Name the certificate and the key of the same CA.",
            )

    def sign(self, csr_pem: bytes, leaf: LeafRequest, *, now: datetime, days: int) -> bytes:
        """Sign a certificate (PEM) for the request's public key. `now` is an aware time.

        Nothing but the public key is taken from the request, and that only when the request's own signature
        is good. The certificate ends in `days`, or with the CA if that is earlier. Raises PkiError for a bad
        request or a CA that is not valid at `now`.
        """
        public_key = load_request(csr_pem).public_key()
        strong_rsa = isinstance(public_key, rsa.RSAPublicKey) and public_key.key_size >= 2048
        if not strong_rsa and not isinstance(
            public_key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
        ):
            raise PkiError(
                "The signing request's key is too weak: EC, Ed25519 or RSA from 2048 bits is needed."
            )
        ca = load_certificate(self.certificate_pem)
        starts, ends = ca.not_valid_before_utc, ca.not_valid_after_utc
        if not starts <= now < ends:
            raise PkiError(
                f"The CA is valid from {starts:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC, not now.",
                hint="Rotate the CA, or set this machine's clock.",
            )
        usages = [ExtendedKeyUsageOID.SERVER_AUTH] if leaf.server else []
        if leaf.client:
            usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
        names = [
            *(x509.DNSName(name) for name in leaf.dns_names),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in leaf.ip_addresses),
        ]
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(leaf.common_name))
            .issuer_name(ca.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - CLOCK_SKEW, starts))
            .not_valid_after(min(now + _lifetime(days), ends))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True, key_encipherment=strong_rsa), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(_authority_key_id(ca), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return _sign(builder, load_private_key(self.key))


def create_authority(common_name: str, *, now: datetime, years: int = 10) -> Authority:
    """Make a self-signed CA with a new EC P-256 key that signs leaves only. `now` is an aware time.

    A year is 365 days, as in kubeadm. Raises PkiError for an unusable name or lifetime.
    """
    _check_common_name(common_name)
    lifetime = _lifetime(years * 365)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(_name(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Authority(_sign(builder, key), encode_private_key(key))


def subject_alt_names(hosts: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split hosts into DNS names (lower case) and IP addresses (canonical), each sorted, without repeats.

    An IPv6 address may stand in brackets. Raises PkiError for what is neither, and for an address with a
    zone, which a certificate cannot hold.
    """
    dns_names: set[str] = set()
    ip_addresses: set[str] = set()
    for host in hosts:
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        try:
            address = ipaddress.ip_address(bare)
        except ValueError:
            if not _DNS_NAME.match(host.lower()):
                raise PkiError(f"Neither a DNS name nor an IP address: {host!r}.") from None
            dns_names.add(host.lower())
        else:
            if "%" in bare:
                raise PkiError(
                    f"A certificate cannot hold the zone of {host!r}.", hint="Use an address without one."
                )
            ip_addresses.add(str(address))
    return tuple(sorted(dns_names)), tuple(sorted(ip_addresses))


def _check_common_name(common_name: str) -> None:
    if not 1 <= len(common_name) <= 64 or not common_name.isprintable():  # ub-common-name, RFC 5280 A.1
        raise PkiError(f"Not a common name of 1 to 64 printable characters: {common_name!r}.")


def _lifetime(days: int) -> timedelta:
    if not 1 <= days <= MAX_DAYS:
        raise PkiError(f"A certificate lives from 1 day to {MAX_DAYS // 365} years, not {days} days.")
    return timedelta(days=days)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key_id(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Repeat the CA's own key identifier, however it was derived: verifiers build the chain by it."""
    try:
        key_id = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        key_id = x509.SubjectKeyIdentifier.from_public_key(ca.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> bytes:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)
