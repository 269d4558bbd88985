"""etcdplan observe SPEC"""

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from etcdplan.cli.options import AgeIdentity, SpecPath
from etcdplan.cli.output import progress, result

Out = Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", help="Where to save the state.")]


def observe(spec: SpecPath, out: Out = None, age_identity: AgeIdentity = None) -> int:
    """Look at the live cluster and save what is seen, as JSON: 'plan --live' plans from it. Changes nothing."""
    from etcdplan.cli.cluster import connect, load
    from etcdplan.cli.files import write_file
    from etcdplan.model.saved import dump_state

    with connect(load(spec), age_identity or []) as reached:
        state = reached.observe(measure=True)
    text = jsonlib.dumps(dump_state(state), indent=2, ensure_ascii=False) + "\n"
    if out is None:
        result(text)
    else:
        write_file(out, text.encode())
    silent = [host for host in state.hosts.values() if host.unreachable]
    for host in silent:
        progress(f"{host.address} could not be observed: {host.unreachable}")
    return 8 if silent else 0
