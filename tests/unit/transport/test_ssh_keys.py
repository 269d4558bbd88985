"""Every key that ssh-keygen makes can be used."""

from pathlib import Path

import pytest

from etcdplan.transport.ssh_keys import _load
from etcdplan.transport.ssh_paramiko import paramiko
from tests.support.sshd import blob, make_key


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_keys_without_a_comment(tmp_path: Path, kind: str) -> None:
    # Whether their numbers begin with a high bit decides how they are padded.
    for number in range(12):
        key = make_key(tmp_path / str(number), kind)
        loaded = _load(key)
        assert loaded.asbytes() == blob(key)
        signature = loaded.sign_ssh_data(b"data", loaded.get_name())
        signature.rewind()
        known = paramiko.PKey.from_type_string(loaded.get_name(), blob(key))
        assert known.verify_ssh_sig(b"data", signature)
