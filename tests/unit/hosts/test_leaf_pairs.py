"""Certificates and keys, always a pair."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdplan.hosts.leaf_pairs import install, leaf_names, make_key, read_leaf
from etcdplan.hosts.ports import HostRefused, LeafFile
from etcdplan.pki.authority import Authority, LeafRequest, create_authority


@pytest.fixture(scope="module")
def authority() -> Authority:
    return create_authority("etcd-ca", now=datetime.now(UTC))


@pytest.fixture
def pki(root: Path) -> Path:
    return root / "etc/etcdplan/pki"


def sign(authority: Authority, request: bytes) -> bytes:
    leaf = LeafRequest("member1", ("localhost",), (), server=True, client=True)
    return authority.sign(request, leaf, now=datetime.now(UTC), days=1)


def test_there_is_none(pki: Path) -> None:
    assert leaf_names(pki) == []
    assert read_leaf(pki, "server") is None


def test_a_pair_appears_only_when_it_is_whole(pki: Path, authority: Authority) -> None:
    request = make_key(pki, "server")
    assert leaf_names(pki) == []
    assert read_leaf(pki, "server") is None
    certificate = sign(authority, request)
    install(pki, "server", certificate)
    assert leaf_names(pki) == ["server"]
    assert read_leaf(pki, "server") == LeafFile(certificate, key_matches=True)
    assert not list(pki.glob(".*.new"))


def test_the_pair_in_use_stays_until_the_swap(pki: Path, authority: Authority) -> None:
    first = sign(authority, make_key(pki, "server"))
    install(pki, "server", first)
    make_key(pki, "server")
    assert read_leaf(pki, "server") == LeafFile(first, key_matches=True)


def test_a_key_that_waits_is_replaced(pki: Path, authority: Authority) -> None:
    forgotten = sign(authority, make_key(pki, "server"))
    wanted = sign(authority, make_key(pki, "server"))
    with pytest.raises(HostRefused, match="does not belong"):
        install(pki, "server", forgotten)
    assert leaf_names(pki) == []
    install(pki, "server", wanted)
    assert read_leaf(pki, "server") == LeafFile(wanted, key_matches=True)


def test_a_certificate_without_a_waiting_key_is_refused(pki: Path, authority: Authority) -> None:
    certificate = sign(authority, make_key(pki, "server"))
    install(pki, "server", certificate)
    with pytest.raises(HostRefused, match="does not belong"):
        install(pki, "server", certificate)
    with pytest.raises(HostRefused, match="does not belong"):
        install(pki, "peer", certificate)
    make_key(pki, "peer")
    with pytest.raises(HostRefused, match="does not belong"):
        install(pki, "peer", b"not a certificate")
    assert read_leaf(pki, "server") == LeafFile(certificate, key_matches=True)


def test_only_the_newest_former_pair_is_kept(pki: Path, authority: Authority) -> None:
    certificates = []
    for _ in range(12):
        certificates.append(sign(authority, make_key(pki, "server")))
        install(pki, "server", certificates[-1])
    assert read_leaf(pki, "server") == LeafFile(certificates[-1], key_matches=True)
    kept = {path.read_bytes() for path in pki.glob(".server.*/tls.crt")}
    assert kept == set(certificates[-2:])
    assert len(list(pki.iterdir())) == 3


def test_names_that_begin_alike_do_not_meddle(pki: Path, authority: Authority) -> None:
    names = ["apiserver-cp", "apiserver-cp.1", "apiserver-cp.1.2"]
    installed = {}
    for _ in range(3):
        for name in names:
            installed[name] = sign(authority, make_key(pki, name))
            install(pki, name, installed[name])
    assert leaf_names(pki) == names
    for name in names:
        assert read_leaf(pki, name) == LeafFile(installed[name], key_matches=True)


def test_a_certificate_without_its_key_does_not_match(pki: Path, authority: Authority) -> None:
    certificate = sign(authority, make_key(pki, "server"))
    install(pki, "server", certificate)
    (pki / "server/tls.key").write_bytes(b"not a key")
    assert read_leaf(pki, "server") == LeafFile(certificate, key_matches=False)
    (pki / "server/tls.key").unlink()
    assert read_leaf(pki, "server") == LeafFile(certificate, key_matches=False)
    (pki / "server/tls.crt").unlink()
    assert read_leaf(pki, "server") is None


def test_a_directory_that_somebody_made_is_a_leaf_and_stays(pki: Path, authority: Authority) -> None:
    certificate = sign(authority, make_key(pki, "server"))
    (pki / "server").mkdir()
    (pki / "server/tls.crt").write_bytes(certificate)
    assert read_leaf(pki, "server") == LeafFile(certificate, key_matches=False)
    with pytest.raises(OSError):
        install(pki, "server", certificate)
    assert (pki / "server/tls.crt").read_bytes() == certificate
    assert not list(pki.glob("*link*"))


def test_keys_are_private(pki: Path, authority: Authority) -> None:
    install(pki, "server", sign(authority, make_key(pki, "server")))
    make_key(pki, "server")
    for path in pki.rglob("*"):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert pki.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["", "..", "../server", ".server", "a/b", "server.new/../x"])
def test_names_that_lead_elsewhere_are_refused(pki: Path, name: str) -> None:
    with pytest.raises(HostRefused, match="cannot be the name"):
        make_key(pki, name)
