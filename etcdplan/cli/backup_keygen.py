"""etcdplan backup keygen FILE"""

from pathlib import Path
from typing import Annotated

import typer

from etcdplan.cli.output import result
from etcdplan.errors import EtcdplanError


def keygen(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where the key goes; FILE.pub gets the public one.")
    ],
    recipient: Annotated[
        list[str] | None,
        typer.Option("--recipient", metavar="AGE1…", help="Encrypt the key to it. May be repeated."),
    ] = None,
    identity: Annotated[
        Path | None,
        typer.Option(
            "--identity", metavar="FILE", help="Make an age identity, too, for reading backups back."
        ),
    ] = None,
) -> int:
    """Make an Ed25519 key that signs backups, and its public key. Without --recipient it lies plain (mode 0600)."""
    from etcdplan.backup.signing import new_signing_key
    from etcdplan.cli.files import write_file
    from etcdplan.pki.keyfile import new_identity, write_identity, write_key

    public = path.with_name(f"{path.name.removesuffix('.age')}.pub")
    for one in (path, public, identity):
        if one is not None and one.exists():
            raise EtcdplanError(f"{one} exists already and is not overwritten.", hint="Name another file.")
    key, public_pem = new_signing_key()
    write_key(path, key, recipients=recipient or [])
    write_file(public, public_pem)
    if identity is not None:
        secret, its_recipient = new_identity()
        write_identity(identity, secret)
        result(f"wrote {identity}, for spec.backup.encryption.recipients: {its_recipient}")
    result(f"wrote {path}\nwrote {public}\n\nIn the spec:\n  backup:\n    encryption:")
    result(f"      signingKey: {path}\n      trustedKeys: [{public}]")
    return 0
