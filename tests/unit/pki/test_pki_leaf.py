import base64
import hashlib
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate

from etcdplan.pki.authority import Authority, LeafRequest, create_authority
from etcdplan.pki.errors import PkiError
from etcdplan.pki.leaf import LeafFacts, describe, key_matches, new_key_and_csr, trust_spkis, verifies
from etcdplan.pki.pem import load_certificate
from etcdplan.pki.secret import Secret

from .conftest import OpenSsl

Issue = Callable[..., tuple[Secret, bytes]]


def test_facts_agree_with_openssl(
    authority: Authority, issue: Issue, openssl: OpenSsl, now: datetime
) -> None:
    certificate = issue(days=30)[1]
    fingerprint = openssl("x509", "-noout", "-fingerprint", "-sha256", stdin=certificate).split("=")[1]
    public = openssl("x509", "-noout", "-pubkey", stdin=certificate)
    key_id = openssl("x509", "-noout", "-ext", "subjectKeyIdentifier", stdin=authority.certificate_pem)
    assert describe(certificate) == LeafFacts(
        subject_cn="member1",
        issuer_cn="etcd-ca",
        fingerprint=fingerprint.strip().replace(":", "").lower(),
        spki_sha256=hashlib.sha256(der(public)).hexdigest(),
        authority_key_id=key_id.split()[-1].replace(":", "").lower(),
        dns_names=("localhost", "member1"),
        ip_addresses=("10.0.0.1", "::1"),
        server=True,
        client=True,
        not_before=int((now - timedelta(minutes=5)).timestamp()),
        not_after=int((now + timedelta(days=30)).timestamp()),
    )


def der(pem: str) -> bytes:
    return base64.b64decode("".join(line for line in pem.splitlines() if "-----" not in line))


def test_facts_of_foreign_certificates(openssl: OpenSsl, tmp_path: Path) -> None:
    def facts(*extra: str) -> LeafFacts:
        certificate = tmp_path / "x.crt"
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", tmp_path / "x.key", "-out", certificate, "-subj", "/O=nobody", *extra),
        )
        return describe(certificate.read_bytes())

    bare = facts()
    assert (bare.subject_cn, bare.issuer_cn, bare.dns_names, bare.ip_addresses) == ("", "", (), ())
    assert (bare.server, bare.client) == (True, True)  # no extended key usage: any
    names = facts("-addext", "subjectAltName=DNS:B.example,email:a@b.c,IP:10.0.0.1,DNS:a.example")
    assert (names.dns_names, names.ip_addresses) == (("a.example", "b.example"), ("10.0.0.1",))
    server = facts("-addext", "extendedKeyUsage=serverAuth")
    assert (server.server, server.client) == (True, False)
    any_use = facts("-addext", "extendedKeyUsage=anyExtendedKeyUsage")
    assert (any_use.server, any_use.client) == (True, True)


def test_key_and_request_come_from_one_key(openssl: OpenSsl) -> None:
    key, csr = new_key_and_csr()
    openssl("req", "-verify", "-noout", stdin=csr)
    assert openssl("req", "-noout", "-pubkey", stdin=csr) == openssl("pkey", "-pubout", stdin=key.reveal())
    assert key.reveal().startswith(b"-----BEGIN PRIVATE KEY-----\n")


def test_key_matches(issue: Issue) -> None:
    key, certificate = issue()
    other, _ = issue()
    assert key_matches(key, certificate)
    assert not key_matches(other, certificate)
    with pytest.raises(PkiError, match="private key"):
        key_matches(Secret(certificate), certificate)
    with pytest.raises(PkiError, match="Not a PEM certificate"):
        key_matches(key, key.reveal())


def test_verifies_checks_the_signature_and_the_issuer(
    authority: Authority, issue: Issue, now: datetime, member: LeafRequest
) -> None:
    _, certificate = issue()
    other = create_authority("other", now=now).certificate_pem
    assert verifies(certificate, authority.certificate_pem)
    assert verifies(certificate, other + authority.certificate_pem)
    assert not verifies(certificate, other)
    assert not verifies(certificate, certificate)  # no CA
    der_bytes = bytearray(load_certificate(certificate).public_bytes(Encoding.DER))
    der_bytes[-1] ^= 1
    forged = load_der_x509_certificate(bytes(der_bytes)).public_bytes(Encoding.PEM)
    assert not verifies(forged, authority.certificate_pem)


def test_a_leaf_is_no_issuer(authority: Authority, now: datetime, tmp_path: Path, openssl: OpenSsl) -> None:
    """A certificate signed by a leaf's key has a good signature, and is not verified."""
    leaf_request = LeafRequest("mallory", ("mallory",), (), server=True, client=True)
    key, csr = new_key_and_csr()
    leaf = authority.sign(csr, leaf_request, now=now, days=1)
    (tmp_path / "leaf.crt").write_bytes(leaf)
    (tmp_path / "leaf.key").write_bytes(key.reveal())
    _, below = new_key_and_csr()
    signed = openssl(
        *("x509", "-req", "-CA", tmp_path / "leaf.crt", "-CAkey", tmp_path / "leaf.key", "-days", "1"),
        stdin=below,
    ).encode()
    assert describe(signed).issuer_cn == "mallory"
    assert not verifies(signed, leaf)


def test_trust_spkis_compare_bundles_as_sets(authority: Authority, now: datetime) -> None:
    a, b = authority.certificate_pem, create_authority("b", now=now).certificate_pem
    assert trust_spkis(a + b) == trust_spkis(b + b"# comment\n" + a + a)
    assert trust_spkis(a + b) == tuple(sorted(trust_spkis(a) + trust_spkis(b)))
    assert trust_spkis(a) == (describe(a).spki_sha256,)


@pytest.mark.parametrize("read", [describe, trust_spkis, lambda pem: verifies(pem, pem)])
@pytest.mark.parametrize(
    "pem",
    [
        *(
            b"",
            b"junk",
            b"\xff\xfe",
            b"-----BEGIN CERTIFICATE-----\n",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n",
        ),
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
)
def test_malformed_pem_is_one_plain_error(read: Callable[[bytes], object], pem: bytes) -> None:
    with pytest.raises(PkiError, match="Not a PEM certificate"):
        read(pem)


def test_a_bundle_with_one_damaged_certificate_is_refused(authority: Authority) -> None:
    pem = authority.certificate_pem
    with pytest.raises(PkiError):
        trust_spkis(pem + pem.replace(b"MII", b"AII", 1))


@pytest.mark.filterwarnings("ignore")  # cryptography warns of odd serial numbers and names
def test_damaged_certificates_never_escape_as_another_error(issue: Issue) -> None:
    """Every byte of a certificate changed in turn: read, or refused with PkiError."""
    certificate = load_certificate(issue()[1]).public_bytes(Encoding.DER)
    chance = random.Random(1)
    refused = 0
    for position in range(len(certificate)):
        for _ in range(3):
            damaged = bytearray(certificate)
            damaged[position] ^= chance.randrange(1, 256)
            pem = as_pem(bytes(damaged))
            try:
                describe(pem)
                verifies(pem, pem)
                trust_spkis(pem)
            except PkiError:
                refused += 1
    assert refused > 100


def as_pem(der_bytes: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der_bytes) + b"-----END CERTIFICATE-----\n"
