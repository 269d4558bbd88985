import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from etcdplan.pki.authority import Authority, LeafRequest, create_authority, subject_alt_names
from etcdplan.pki.errors import PkiError
from etcdplan.pki.leaf import describe, new_key_and_csr, verifies
from etcdplan.pki.pem import load_certificate
from etcdplan.pki.secret import Secret

from .conftest import OpenSsl

Issue = Callable[..., tuple[Secret, bytes]]


def extensions(text: str) -> dict[str, str]:
    """`openssl x509 -text`'s extensions: title (with `critical`) to its lines, joined."""
    section = text.split("X509v3 extensions:\n")[1].split("Signature Algorithm")[0]
    found: dict[str, str] = {}
    title = ""
    for line in section.splitlines():
        if line.startswith(" " * 12) and line[12] != " ":
            title = line.strip().removeprefix("X509v3 ")
            found[title] = ""
        else:
            found[title] = f"{found[title]} {line.strip()}".strip()
    return found


def test_ca_certificate_as_openssl_reads_it(authority: Authority, openssl: OpenSsl, now: datetime) -> None:
    text = openssl("x509", "-noout", "-text", stdin=authority.certificate_pem)
    found = extensions(text)
    assert found.keys() == {
        "Basic Constraints: critical",
        "Key Usage: critical",
        "Subject Key Identifier:",
    }
    assert found["Basic Constraints: critical"] == "CA:TRUE, pathlen:0"
    assert found["Key Usage: critical"] == "Certificate Sign, CRL Sign"
    assert "ASN1 OID: prime256v1" in text
    assert "Issuer: CN = etcd-ca\n" in text
    assert "Subject: CN = etcd-ca\n" in text
    facts = describe(authority.certificate_pem)
    assert facts.not_before == int((now - timedelta(minutes=5)).timestamp())
    assert facts.not_after == int((now + timedelta(days=3650)).timestamp())


def test_leaf_as_openssl_reads_it(authority: Authority, issue: Issue, openssl: OpenSsl) -> None:
    text = openssl("x509", "-noout", "-text", stdin=issue()[1])
    found = extensions(text)
    ca = extensions(openssl("x509", "-noout", "-text", stdin=authority.certificate_pem))
    assert found.pop("Subject Key Identifier:") != ca["Subject Key Identifier:"]
    assert found == {
        "Basic Constraints: critical": "CA:FALSE",
        "Key Usage: critical": "Digital Signature",
        "Extended Key Usage:": "TLS Web Server Authentication, TLS Web Client Authentication",
        "Authority Key Identifier:": ca["Subject Key Identifier:"],
        "Subject Alternative Name:": (
            "DNS:localhost, DNS:member1, IP Address:10.0.0.1, IP Address:0:0:0:0:0:0:0:1"
        ),
    }
    assert "Issuer: CN = etcd-ca\n" in text
    assert "Subject: CN = member1\n" in text
    assert "Signature Algorithm: ecdsa-with-SHA256" in text


@pytest.mark.parametrize(
    ("server", "client", "purposes"),
    [(True, True, {"sslserver", "sslclient"}), (True, False, {"sslserver"}), (False, True, {"sslclient"})],
)
def test_openssl_verifies_the_chain_for_the_asked_purposes_only(
    authority: Authority,
    issue: Issue,
    openssl: OpenSsl,
    member: LeafRequest,
    tmp_path: Path,
    server: bool,
    client: bool,
    purposes: set[str],
) -> None:
    ca, leaf = tmp_path / "ca.crt", tmp_path / "leaf.crt"
    ca.write_bytes(authority.certificate_pem)
    leaf.write_bytes(issue(replace(member, server=server, client=client))[1])
    for purpose in ("sslserver", "sslclient"):
        openssl("verify", "-x509_strict", "-purpose", purpose, "-CAfile", ca, leaf, ok=purpose in purposes)
    if server:
        for check in (("-verify_hostname", "member1"), ("-verify_ip", "10.0.0.1"), ("-verify_ip", "::1")):
            openssl("verify", "-x509_strict", "-CAfile", ca, *check, leaf)
        openssl("verify", "-CAfile", ca, "-verify_ip", "10.0.0.2", leaf, ok=False)


def test_another_ca_of_the_same_name_does_not_verify(
    issue: Issue, openssl: OpenSsl, now: datetime, tmp_path: Path
) -> None:
    other = create_authority("etcd-ca", now=now)
    ca, leaf = tmp_path / "ca.crt", tmp_path / "leaf.crt"
    ca.write_bytes(other.certificate_pem)
    leaf.write_bytes(issue()[1])
    openssl("verify", "-CAfile", ca, leaf, ok=False)
    assert not verifies(leaf.read_bytes(), other.certificate_pem)


def test_a_client_needs_no_names(issue: Issue, openssl: OpenSsl) -> None:
    leaf = LeafRequest("kube-apiserver-etcd-client", (), (), server=False, client=True)
    found = extensions(openssl("x509", "-noout", "-text", stdin=issue(leaf)[1]))
    assert "Subject Alternative Name:" not in found
    assert found["Extended Key Usage:"] == "TLS Web Client Authentication"


def test_nothing_but_the_public_key_comes_from_the_request(
    authority: Authority, openssl: OpenSsl, member: LeafRequest, now: datetime, tmp_path: Path
) -> None:
    key, csr = tmp_path / "evil.key", tmp_path / "evil.csr"
    openssl(
        *("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", csr),
        *("-subj", "/O=system:masters/CN=root", "-addext", "basicConstraints=critical,CA:TRUE"),
        *("-addext", "subjectAltName=DNS:evil.example", "-addext", "keyUsage=keyCertSign"),
    )
    signed = authority.sign(csr.read_bytes(), member, now=now, days=1)
    text = openssl("x509", "-noout", "-text", stdin=signed)
    assert "Subject: CN = member1\n" in text
    assert not re.search("evil|masters|root|CA:TRUE|Certificate Sign", text)
    assert extensions(text)["Key Usage: critical"] == "Digital Signature, Key Encipherment"
    public = openssl("x509", "-noout", "-pubkey", stdin=signed)
    assert public == openssl("pkey", "-in", key, "-pubout")


def test_a_request_that_its_key_did_not_sign_is_refused(
    authority: Authority, member: LeafRequest, now: datetime
) -> None:
    der = bytearray(x509.load_pem_x509_csr(new_key_and_csr()[1]).public_bytes(Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    with pytest.raises(PkiError, match="not signed by the key"):
        authority.sign(forged, member, now=now, days=1)


@pytest.mark.parametrize("arguments", [("rsa:1024",), ("ed448",)])
def test_weak_and_unknown_keys_are_refused(
    authority: Authority,
    openssl: OpenSsl,
    member: LeafRequest,
    now: datetime,
    tmp_path: Path,
    arguments: tuple[str],
) -> None:
    csr = tmp_path / "weak.csr"
    openssl(
        *("req", "-new", "-newkey", *arguments, "-nodes", "-keyout", tmp_path / "k"),
        *("-out", csr, "-subj", "/CN=x"),
    )
    with pytest.raises(PkiError, match="too weak"):
        authority.sign(csr.read_bytes(), member, now=now, days=1)


@pytest.mark.parametrize("csr", [b"", b"junk", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END"])
def test_a_malformed_request_is_refused(
    authority: Authority, member: LeafRequest, now: datetime, csr: bytes
) -> None:
    with pytest.raises(PkiError, match="signing request"):
        authority.sign(csr, member, now=now, days=1)


@pytest.mark.parametrize("algorithm", ["rsa:2048", "ed25519", "ec"])
def test_a_ca_made_by_openssl_signs(
    openssl: OpenSsl, member: LeafRequest, tmp_path: Path, algorithm: str
) -> None:
    key, ca, leaf = tmp_path / "ca.key", tmp_path / "ca.crt", tmp_path / "leaf.crt"
    curve = ("-pkeyopt", "ec_paramgen_curve:P-384") if algorithm == "ec" else ()
    openssl(
        *("req", "-x509", "-newkey", algorithm, *curve, "-nodes", "-keyout", key, "-out", ca),
        *("-subj", "/O=Old/CN=etcd-ca", "-days", "30", "-addext", "keyUsage=critical,keyCertSign"),
    )
    authority = Authority(ca.read_bytes(), Secret(key.read_bytes()))
    leaf.write_bytes(authority.sign(new_key_and_csr()[1], member, now=datetime.now(UTC), days=365))
    openssl("verify", "-x509_strict", "-CAfile", ca, leaf)
    assert describe(leaf.read_bytes()).not_after == describe(ca.read_bytes()).not_after  # ends with the CA


def test_certificate_and_key_have_to_make_a_ca(authority: Authority, issue: Issue, now: datetime) -> None:
    other = create_authority("other", now=now)
    with pytest.raises(PkiError, match="does not belong to the CA certificate"):
        Authority(authority.certificate_pem, other.key)
    key, leaf = issue()
    with pytest.raises(PkiError, match="not a CA's"):
        Authority(leaf, key)
    with pytest.raises(PkiError, match="Not a PEM certificate"):
        Authority(b"junk", authority.key)
    with pytest.raises(PkiError, match="Not a PEM private key"):
        Authority(authority.certificate_pem, Secret(b"junk"))


@pytest.mark.parametrize("shift", [timedelta(days=3650), timedelta(minutes=-6)])
def test_a_ca_outside_its_dates_does_not_sign(
    authority: Authority, member: LeafRequest, now: datetime, shift: timedelta
) -> None:
    with pytest.raises(PkiError, match=r"CA is valid from .* not now"):
        authority.sign(new_key_and_csr()[1], member, now=now + shift, days=1)


def test_serial_numbers_are_random_and_below_160_bits(issue: Issue) -> None:
    serials = {load_certificate(issue()[1]).serial_number for _ in range(20)}
    assert len(serials) == 20
    assert 120 < max(serials).bit_length() <= 159


def test_subject_alt_names() -> None:
    hosts = ["Member1", "10.0.0.2", "10.0.0.10", "[FD00::0:1]", "::1", "a_b.example.com", "*.etcd", "member1"]
    assert subject_alt_names(hosts) == (
        ("*.etcd", "a_b.example.com", "member1"),
        ("10.0.0.10", "10.0.0.2", "::1", "fd00::1"),
    )
    assert subject_alt_names([]) == ((), ())
    leaf = LeafRequest("m", ("B", "10.0.0.1", "a", "b"), ("FD00::1",), server=True, client=False)
    assert (leaf.dns_names, leaf.ip_addresses) == (("a", "b"), ("10.0.0.1", "fd00::1"))


@pytest.mark.parametrize(
    "host",
    [
        *("", " ", "a b", "a..b", ".a", "a.", "-a", "a-", "é", "a\n", "a,b", "*", "*.*.a", "x*.a", "[a]"),
        *("10.0.0.300", "10.0.0", "010.0.0.1", "10.0.0.1:2379", "https://a", "::g", "fe80::1%eth0", "a" * 64),
        ".".join(["a" * 60] * 5),
    ],
)
def test_a_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(PkiError, match=r"IP address|zone"):
        subject_alt_names([host])


def test_requests_for_useless_certificates_are_refused() -> None:
    with pytest.raises(PkiError, match="neither server nor client"):
        LeafRequest("m", ("m",), (), server=False, client=False)
    with pytest.raises(PkiError, match="names no host"):
        LeafRequest("m", (), (), server=True, client=True)


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "a\0"])
def test_unusable_common_names_are_refused(name: str, now: datetime) -> None:
    with pytest.raises(PkiError, match="common name"):
        LeafRequest(name, ("m",), (), server=True, client=True)
    with pytest.raises(PkiError, match="common name"):
        create_authority(name, now=now)


@pytest.mark.parametrize("amount", [0, -1, 10**9, 10**30])
def test_impossible_lifetimes_are_refused(
    authority: Authority, member: LeafRequest, now: datetime, amount: int
) -> None:
    with pytest.raises(PkiError, match="lives from 1 day to 100 years"):
        create_authority("ca", now=now, years=amount)
    with pytest.raises(PkiError, match="lives from 1 day to 100 years"):
        authority.sign(new_key_and_csr()[1], member, now=now, days=amount)
