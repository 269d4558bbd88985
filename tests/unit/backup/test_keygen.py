"""Keys that sign backups."""

from pathlib import Path

import pytest

from etcdplan.backup.errors import BackupError
from etcdplan.backup.signing import PublicKey, Signer
from etcdplan.cli.app import run
from etcdplan.pki.keyfile import new_identity, write_identity


def test_a_key_is_made_plain_or_encrypted_and_replaces_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    identity, recipient = new_identity()
    write_identity(tmp_path / "identity", identity)
    for name, more, identities in (
        ("plain", [], []),
        ("locked.age", ["--recipient", recipient], [tmp_path / "identity"]),
    ):
        path = tmp_path / name
        assert run(["backup", "keygen", str(path), *more]) == 0
        assert path.stat().st_mode & 0o777 == 0o600
        public = tmp_path / f"{name.removesuffix('.age')}.pub"
        signature = Signer(path, identities=identities).sign(b"words")
        assert PublicKey(public.read_bytes(), "public").signed(b"words", signature)
        assert not PublicKey(public.read_bytes(), "public").signed(b"word", signature)
        kept = path.read_bytes()
        assert run(["backup", "keygen", str(path)]) == 1
        assert path.read_bytes() == kept
    assert "exists already" in capsys.readouterr().err


def test_other_keys_are_refused(tmp_path: Path) -> None:
    assert run(["pki", "init", "--plain", "--dir", str(tmp_path)]) == 0
    with pytest.raises(BackupError, match="not an Ed25519 key"):
        Signer(tmp_path / "etcd-ca.key")
    with pytest.raises(BackupError, match="not an Ed25519 public key"):
        PublicKey((tmp_path / "etcd-ca.crt").read_bytes(), "this")
