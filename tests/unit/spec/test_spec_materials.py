"""Files that a spec names: certificates only, and each failure points at the path in the spec."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdplan.pki.authority import create_authority
from etcdplan.spec.load import LoadedSpec, load_materials
from etcdplan.spec.problems import PKI_INIT, SpecInvalid

Load = Callable[..., LoadedSpec]


@pytest.fixture(scope="module")
def pem() -> bytes:
    return create_authority("etcd", now=datetime(2026, 1, 1, tzinfo=UTC)).certificate_pem


def _problem(loaded: LoadedSpec) -> str:
    with pytest.raises(SpecInvalid) as caught:
        load_materials(loaded)
    prefix = f"{loaded.path}:16:10: spec.tls.ca.certificate: "
    assert caught.value.message.startswith(prefix)
    return caught.value.message.removeprefix(prefix)


def test_path_is_relative_to_the_spec(
    load: Load, pem: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    (tmp_path / "ca.crt").write_bytes(pem)
    assert load_materials(load()).ca_pem == pem


def test_path_may_be_absolute(load: Load, pem: bytes, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "ca.crt").write_bytes(pem)
    assert load_materials(load("ca.crt", f"{other}/ca.crt")).ca_pem == pem


def test_no_private_key_is_opened(load: Load, pem: bytes, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(pem)
    os.mkfifo(tmp_path / "ca.key.age")
    os.mkfifo(tmp_path / "op.key")  # opening a pipe for reading would block
    assert load_materials(load()).ca_pem == pem


def test_no_tls_needs_nothing(load: Load) -> None:
    plain = load("  tls:\n", "  tls:\n    mode: none\n    allowPlaintext: true\n")
    assert load_materials(plain).ca_pem is None


def test_missing(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "ca.crt"
    expected = f"{path} cannot be read: No such file or directory; {PKI_INIT} makes it"
    assert _problem(load()) == expected


def test_not_a_file(load: Load, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ca.crt")
    assert _problem(load()).startswith(f"{tmp_path / 'ca.crt'} cannot be read: Not a regular file")


def test_not_a_certificate(load: Load, pem: bytes, tmp_path: Path) -> None:
    for content in (b"", b"junk", pem[:-60]):
        (tmp_path / "ca.crt").write_bytes(content)
        assert _problem(load()).startswith(f"{tmp_path / 'ca.crt'} does not hold certificates: ")


def test_private_key_in_the_bundle(load: Load, pem: bytes, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(
        pem + b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
    )
    problem = _problem(load())
    assert problem.startswith(f"{tmp_path / 'ca.crt'} holds a private key")
    assert "c2VjcmV0" not in problem


def test_too_large(load: Load, pem: bytes, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(pem + b"\n" * (1 << 20))
    assert _problem(load()).startswith(f"{tmp_path / 'ca.crt'} is larger than 1024 KiB")
