"""A backup policy with keys of its own, beside a spec."""

from pathlib import Path
from typing import Any

import yaml

from etcdplan.backup.manifest import Manifest, new_name, written
from etcdplan.backup.signing import new_signing_key
from etcdplan.pki.keyfile import new_identity, write_identity, write_key

ENCRYPTED = b"encrypted " * 80
"""Stands for the snapshot of a manifest that says nothing else."""


def with_backups(spec: Path) -> Path:
    """Return a copy of a spec with backups to `backups` and `second` beside it; `identity` there opens them."""
    home = spec.parent
    identity, recipient = new_identity()
    write_identity(home / "identity", identity)
    key, public = new_signing_key()
    write_key(home / "backup.ed25519", key)
    (home / "backup.ed25519.pub").write_bytes(public)
    document = yaml.safe_load(spec.read_text())
    document["spec"]["backup"] = {
        "destinations": ["backups", "second"],
        "encryption": {
            "recipients": [recipient],
            "signingKey": "backup.ed25519",
            "trustedKeys": ["backup.ed25519.pub"],
        },
    }
    path = home / "with-backups.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def manifest(time: int, number: int = 0, *, cluster: str = "prod", **changes: Any) -> Manifest:
    """Return what is said of a backup of `time`, unix seconds; `number` tells those of one time apart."""
    said = {
        "name": new_name(cluster, time, f"{number:08x}"),
        "cluster": cluster,
        "cluster_id": "1f",
        "member": "m1",
        "etcd_version": "3.6.16",
        "revision": 7,
        "taken_at": written(time),
        "size": 544,
        "sha256": "0" * 64,
        "encrypted_size": len(ENCRYPTED),
        "encrypted_sha256": "1" * 64,
        "recipients": ("age1x",),
        "verified": "checksum",
        "made_by": "a test",
    }
    return Manifest.model_validate(said | changes)
