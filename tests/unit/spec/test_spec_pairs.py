"""Certificates and keys of a spec: what does not fit together is said before any host is asked."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdplan.pki.authority import Authority, LeafRequest, create_authority
from etcdplan.pki.keyfile import new_identity, write_key
from etcdplan.pki.leaf import new_key_and_csr
from etcdplan.pki.secret import Secret
from etcdplan.spec.load import LoadedSpec, load_materials
from etcdplan.spec.pairs import check_pairs
from etcdplan.spec.problems import SpecInvalid

Load = Callable[..., LoadedSpec]
NOW = datetime.now(UTC)
OPERATOR = LeafRequest("operator", (), (), server=False, client=True)


def _authority() -> Authority:
    return create_authority("etcd", now=NOW)


def _operator(authority: Authority) -> tuple[Secret, bytes]:
    key, request = new_key_and_csr()
    return key, authority.sign(request, OPERATOR, now=NOW, days=1)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Make all that the spec names, as it should be."""
    ca = _authority()
    key, certificate = _operator(ca)
    (tmp_path / "ca.crt").write_bytes(ca.certificate_pem)
    (tmp_path / "op.crt").write_bytes(certificate)
    write_key(tmp_path / "ca.key.age", ca.key, recipients=[new_identity()[1]])
    write_key(tmp_path / "op.key", key)
    return tmp_path


def _places(loaded: LoadedSpec) -> list[str]:
    return [f"{f.code} {f.severity} {f.address} {f.position.line}" for f in check_pairs(loaded)]


def test_what_fits_gives_nothing(load: Load, place: Path) -> None:
    assert _places(load()) == []
    assert load_materials(load()).ca_pem == (place / "ca.crt").read_bytes()


def test_an_operator_of_another_ca_is_an_error(load: Load, place: Path) -> None:
    (place / "op.crt").write_bytes(_operator(_authority())[1])
    with pytest.raises(SpecInvalid) as caught:
        load_materials(load())
    message = f"spec.tls.operator.certificate: {place}/op.crt was not issued by the CA in {place}/ca.crt"
    assert f"{place}/prod.yaml:17:16: {message}" in caught.value.message


def test_an_operator_file_may_hold_the_way_to_the_ca(load: Load, place: Path) -> None:
    other = _operator(_authority())[1]
    (place / "op.crt").write_bytes(other + (place / "op.crt").read_bytes())
    assert load_materials(load()).ca_pem


def test_an_operator_certificate_that_is_none_is_an_error(load: Load, place: Path) -> None:
    (place / "op.crt").write_bytes(b"junk")
    with pytest.raises(SpecInvalid, match=r"op\.crt does not hold certificates"):
        load_materials(load())


def test_a_key_of_another_certificate(load: Load, place: Path) -> None:
    (place / "op.key").unlink()
    write_key(place / "op.key", _operator(_authority())[0])
    (finding,) = check_pairs(load())
    assert (finding.code, finding.severity) == ("EP119", "error")
    assert finding.what == f"{place}/op.key is not the key of {place}/op.crt"
    assert "PRIVATE" not in finding.what + finding.remedy


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_open_to_others(mode: int, load: Load, place: Path) -> None:
    (place / "op.key").chmod(mode)
    assert _places(load()) == ["EP118 warning spec.tls.operator.key 17"]
    (place / "ca.key.age").chmod(mode)
    assert len(_places(load())) == 1, "an encrypted one may be read"
    ca = _authority()
    (place / "ca.crt").write_bytes(ca.certificate_pem)
    (place / "ca.key.age").write_bytes(ca.key.reveal())
    assert _places(load())[0] == "EP118 warning spec.tls.ca.key 16"


def test_keys_that_cannot_be_read_are_passed_over(load: Load, place: Path) -> None:
    (place / "ca.key.age").unlink()
    os.mkfifo(place / "ca.key.age")
    for content in (b"", b"-----BEGIN PRIVATE KEY-----"):
        (place / "op.key").write_bytes(content)
        assert _places(load()) == []
    (place / "op.key").unlink()
    assert _places(load()) == []


def test_no_tls_has_no_pairs(load: Load, place: Path) -> None:
    (place / "op.key").chmod(0o644)
    assert _places(load("  tls:\n", "  tls:\n    mode: none\n    allowPlaintext: true\n")) == []
