"""What restored members are compared with: the keys as they came, on a real etcd."""

import subprocess
from pathlib import Path

import pytest

from etcdplan.backup.etcd_tools import find_tools
from etcdplan.backup.isolated import isolated_etcd
from etcdplan.backup.manifest import KvHash, Trial
from etcdplan.backup.restoring import SnapshotSource
from etcdplan.errors import StoppedError
from etcdplan.lab.binaries import etcd_binaries
from etcdplan.model.facts import known
from etcdplan.model.restore import Restore
from etcdplan.model.state import Member, Membership, State
from tests.support.backups import manifest
from tests.support.cli import VERSION

pytestmark = pytest.mark.host

URL = "https://10.0.0.1:2380"


def test_what_expires_after_a_restore_is_no_loss_and_what_never_came_is(tmp_path: Path) -> None:
    """Leases run again when a restored member leads, and kube-apiserver's own keys are gone within seconds."""
    binaries = etcd_binaries(VERSION)
    tools = find_tools(VERSION, [binaries])
    (tmp_path / "scratch").mkdir(mode=0o700)
    with isolated_etcd(tools, tmp_path / "data", tmp_path / "scratch", name="one", token="t") as etcd:

        def etcdctl(*words: str) -> None:
            endpoint = f"--endpoints=unix://{tmp_path}/scratch/client:1"
            subprocess.run(
                [binaries / "etcdctl", endpoint, *words], check=True, timeout=20, capture_output=True
            )

        for number in range(3):
            etcdctl("put", f"/registry/things/{number}", "{}")
        came = etcd.linearizable_read(timeout=10)
        etcdctl("del", "/registry/things/2")  # As an expired lease does.

        def compare(keys: int) -> None:
            hashed = KvHash(hash=0, revision=came, compact_revision=-1)
            trial = Trial(
                version=VERSION,
                status_hash=0,
                revision=came,
                total_keys=3,
                total_size=0,
                keys=keys,
                kv_hash=hashed,
                compared_with_member=False,
                objects_read=3,
                objects_encrypted=0,
            )
            one = manifest(1_800_000_000, verified="restore", trial=trial, revision=came)
            restore = Restore(one.name, one.sha256, came, ((URL, "one"),), "t", 0, 0x1F)
            member = Member(1, "one", URL, ("https://10.0.0.1:2379",), learner=False, serving=True)
            state = State({}, membership=known(Membership(1, {URL: member})))
            source = SnapshotSource(
                copies=lambda _: [(None, one)],  # type: ignore[list-item]
                tools=lambda _: tools,
                identities=(),
                etcd=lambda _host, _url: etcd,
            )
            source.compare(restore, state)

        compare(3)
        with pytest.raises(StoppedError, match="has 3 keys; the snapshot had 4"):
            compare(4)
