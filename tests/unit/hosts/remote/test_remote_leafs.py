"""Certificates and keys on a host, made and installed by openssl there."""

import base64
import contextlib
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from etcdplan.hosts.leaf_pairs import install, make_key
from etcdplan.hosts.ports import HostOutcomeUnknown, HostRefused, LeafFile
from etcdplan.pki.authority import Authority, LeafRequest, create_authority
from tests.unit.hosts.remote.conftest import Bench


@pytest.fixture(scope="module")
def authority() -> Authority:
    return create_authority("etcd-ca", now=datetime.now(UTC))


def sign(authority: Authority, request: bytes) -> bytes:
    leaf = LeafRequest("member1", ("localhost",), (), server=True, client=True)
    return authority.sign(request, leaf, now=datetime.now(UTC), days=1)


def renew(bench: Bench, authority: Authority, leaf: str = "server") -> bytes:
    certificate = sign(authority, bench.host.effects.make_leaf_key(bench.claim(), leaf))
    bench.host.effects.install_leaf(bench.claim(), leaf, certificate)
    return certificate


def leafs(bench: Bench) -> dict[str, LeafFile | None]:
    return {name: fact.get() for name, fact in bench.host.inspect(timeout=10).leafs.items()}


def pki(bench: Bench) -> Path:
    return bench.root / "etc/etcdplan/pki"


def test_the_request_is_as_the_library_makes_it(bench: Bench) -> None:
    request = x509.load_pem_x509_csr(bench.host.effects.make_leaf_key(bench.claim(), "server"))
    key = request.public_key()
    assert request.is_signature_valid
    assert list(request.subject) == []
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


def test_a_pair_appears_when_it_is_whole_and_for_its_reader_alone(bench: Bench, authority: Authority) -> None:
    assert leafs(bench) == {}
    request = bench.host.effects.make_leaf_key(bench.claim(), "server")
    assert leafs(bench) == {}
    certificate = sign(authority, request)
    bench.host.effects.install_leaf(bench.claim(), "server", certificate)
    assert leafs(bench) == {"server": LeafFile(certificate, key_matches=True)}
    pair = pki(bench) / "server"
    assert pair.is_symlink()
    assert pair.resolve().stat().st_mode & 0o777 == 0o700
    assert (pair / "tls.key").stat().st_mode & 0o777 == 0o600
    assert not list(pki(bench).glob(".*.new"))


def test_the_newest_of_the_former_pairs_is_kept(bench: Bench, authority: Authority) -> None:
    other = renew(bench, authority, "server.1")
    certificates = [renew(bench, authority) for _ in range(4)]
    assert leafs(bench) == {"server": LeafFile(certificates[-1], True), "server.1": LeafFile(other, True)}
    assert {path.name for path in pki(bench).glob(".server.*")} == {".server.3", ".server.4", ".server.1.1"}
    assert (pki(bench) / ".server.3/tls.crt").read_bytes() == certificates[-2]


def test_a_certificate_of_another_key_is_refused(bench: Bench, authority: Authority) -> None:
    used = renew(bench, authority)
    forgotten = sign(authority, bench.host.effects.make_leaf_key(bench.claim(), "server"))
    bench.host.effects.make_leaf_key(bench.claim(), "server")
    for wrong in (forgotten, used, b"", b"nonsense"):
        with pytest.raises(HostRefused, match="does not belong to the key that waits"):
            bench.host.effects.install_leaf(bench.claim(), "server", wrong)
    assert leafs(bench) == {"server": LeafFile(used, True)}


def test_the_lab_s_pairs_are_the_same(bench: Bench, authority: Authority) -> None:
    pki(bench).mkdir(parents=True)
    certificate = sign(authority, make_key(pki(bench), "peer"))
    install(pki(bench), "peer", certificate)
    assert leafs(bench) == {"peer": LeafFile(certificate, True)}


@pytest.mark.parametrize("kind", ["rsa:2048", "ec", "ed25519"])
@pytest.mark.parametrize("own", [True, False])
def test_whether_a_key_fits_is_told_for_every_kind_of_key(bench: Bench, kind: str, own: bool) -> None:
    directory = pki(bench) / "server"
    directory.mkdir(parents=True)
    curve = ["-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ec" else []
    for name in ("tls", "other"):
        made = ["-keyout", directory / f"{name}.key", "-out", directory / f"{name}.crt"]
        command = [
            "openssl",
            "req",
            "-x509",
            "-nodes",
            "-newkey",
            kind,
            *curve,
            "-subj",
            "/CN=x",
            "-days",
            "1",
            *made,
        ]
        subprocess.run(command, check=True, capture_output=True)
    if not own:
        (directory / "other.key").rename(directory / "tls.key")
    certificate = (directory / "tls.crt").read_bytes()
    assert leafs(bench) == {"server": LeafFile(certificate, key_matches=own)}


@pytest.mark.parametrize("key", [None, b"", b"nonsense", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"])
def test_a_key_that_is_none_fits_nothing(bench: Bench, authority: Authority, key: bytes | None) -> None:
    certificate = renew(bench, authority)
    path = pki(bench) / "server/tls.key"
    path.unlink() if key is None else path.write_bytes(key)
    assert leafs(bench) == {"server": LeafFile(certificate, key_matches=False)}
    (pki(bench) / "server/tls.crt").unlink()
    assert leafs(bench) == {"server": None}


def test_private_keys_never_leave_the_host(bench: Bench, authority: Authority) -> None:
    renew(bench, authority)
    bench.host.effects.make_leaf_key(bench.claim(), "server")
    secrets = [path.read_text().splitlines()[1][8:40] for path in pki(bench).rglob("tls.key")]
    assert len(secrets) == 2
    seen: list[bytes] = []
    run = bench.shell.run

    def listening(script: str, *arguments: str, **more: object) -> object:
        done = run(script, *arguments, **more)  # type: ignore[arg-type]
        seen.append(done.stdout + done.stderr.encode())
        return done

    bench.shell.run = listening  # type: ignore[method-assign, assignment]
    renew(bench, authority)
    leafs(bench)
    secrets += [path.read_text().splitlines()[1][8:40] for path in pki(bench).rglob("tls.key")]
    for content in seen:
        parts = [
            content,
            *(
                base64.b64decode(part)
                for part in re.findall(rb"[A-Za-z0-9+/]{40,}=*", content)
                if len(part) % 4 == 0
            ),
        ]
        for part in parts:
            assert b"PRIVATE" not in part
            assert not any(secret.encode() in part for secret in secrets)


@pytest.mark.parametrize("leaf", ["../x", "", "A", "a b", "-x", "a\n"])
def test_names_that_are_none(bench: Bench, leaf: str) -> None:
    with pytest.raises(HostRefused, match="cannot be a name on a host"):
        bench.host.effects.make_leaf_key(bench.claim(), leaf)


@pytest.mark.parametrize("victim", ["mktemp", "chown", "chmod", "mv", "ln", "readlink", "sync", "rm"])
@pytest.mark.parametrize("before", [True, False])
def test_there_is_always_a_pair_wherever_the_host_dies(
    bench: Bench, authority: Authority, victim: str, before: bool
) -> None:
    old = renew(bench, authority)
    renewed = renew(bench, authority)
    new = sign(authority, bench.host.effects.make_leaf_key(bench.claim(), "server"))
    real = f'/bin/{victim} "$@"\n'
    # Only from here on, and not when the service manager is asked.
    die = "case $* in *server*) kill -9 0;; esac\n"
    bench.shell.shim(victim, f"#!/bin/sh\n{die if before else ''}{real}{'' if before else die}")
    with contextlib.suppress(HostOutcomeUnknown):
        bench.host.effects.install_leaf(bench.claim(), "server", new)
    (bench.shell.shims / victim).unlink()
    found = leafs(bench)["server"]
    assert found is not None
    assert found.key_matches
    assert found.certificate_pem in (renewed, new)
    assert old != renewed
    # What a dead host left is no obstacle.
    assert renew(bench, authority) == leafs(bench)["server"].certificate_pem  # type: ignore[union-attr]


def test_the_trust_bundle(bench: Bench, authority: Authority) -> None:
    bench.host.effects.install_trust(bench.claim(), authority.certificate_pem)
    assert bench.host.inspect(timeout=10).trust.get() == authority.certificate_pem
    assert (pki(bench) / "ca.crt").stat().st_mode & 0o777 == 0o644
