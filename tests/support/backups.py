"""A backup policy with keys of its own, beside a spec."""

from pathlib import Path

import yaml

from etcdplan.backup.signing import new_signing_key
from etcdplan.pki.keyfile import new_identity, write_identity, write_key


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
