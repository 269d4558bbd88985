"""etcdplan backup keys SPEC"""

from pathlib import Path
from typing import Annotated

import typer

from etcdplan.cli.options import AgeIdentity, SpecPath
from etcdplan.cli.output import result
from etcdplan.errors import UnobservedError


def keys(
    spec: SpecPath,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Write each signing key's public half to DIR/HOST.pub."
        ),
    ] = None,
    age_identity: AgeIdentity = None,
) -> int:
    """Show the public keys that backup hosts have made, for spec.backup.encryption. Changes nothing on them.

    Exits with 8 when a host does not answer, or has made none yet.
    """
    from etcdplan.cli.cluster import connect, load
    from etcdplan.cli.files import write_file

    cluster = load(spec)
    with connect(cluster, age_identity or []) as reached:
        state = reached.observe()
    silent = []
    for address in cluster.target.backup_hosts:
        job = state.host(address).job.value
        if job is None or not job.signer:
            silent.append(address)
            continue
        result(
            f"{address}\n  recipients: {job.recipient}\n  trustedKeys, a file with:\n{job.signer.rstrip()}"
        )
        if out is not None:
            write_file(out / f"{address}.pub", job.signer.encode())
            result(f"wrote {out / f'{address}.pub'}")
    if silent:
        raise UnobservedError(
            f"No keys are known of {', '.join(silent)}.", hint="etcdplan apply SPEC has hosts make them."
        )
    return 0
