"""etcdplan plan SPEC"""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from etcdplan.cli.options import AgeIdentity, Json, NoColor, SpecPath
from etcdplan.cli.output import colored, progress, result, width

Live = Annotated[
    Path | None,
    typer.Option(
        "--live",
        metavar="FILE",
        help="Plan from a saved state ('observe -o') and look at nothing.",
        readable=False,
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Save the plan, for 'etcdplan apply FILE'.")
]
Detailed = Annotated[bool, typer.Option("--detailed-exitcode", help="Exit with 2 when there are changes.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show every change and every step.")]


def plan(
    spec: SpecPath,
    live: Live = None,
    out: Out = None,
    detailed_exitcode: Detailed = False,
    json: Json = False,
    verbose: Verbose = False,
    no_color: NoColor = False,
    age_identity: AgeIdentity = None,
) -> int:
    """Compare a spec with the live cluster, and show what would be done, step by step. Changes nothing."""
    from etcdplan.cli.cluster import connect, load
    from etcdplan.cli.files import write_file
    from etcdplan.model.saved import load_state
    from etcdplan.planner.document import dump, to_document
    from etcdplan.planner.unroll import unroll
    from etcdplan.render.diagnostics import finding_text
    from etcdplan.render.json import plan_json
    from etcdplan.render.pending import pending_lines
    from etcdplan.render.printable import printable
    from etcdplan.render.text import plan_text
    from etcdplan.spec.pairs import check_pairs

    cluster = load(spec)
    for finding in check_pairs(cluster.loaded):
        color = colored(sys.stderr, no_color=no_color)
        progress(finding_text(finding, spec, color=color, width=width()))
    if live is not None:
        state = load_state(live.read_bytes(), str(live))
    else:
        with connect(cluster, age_identity or []) as reached:
            state, left = reached.look("plan", measure=True)
            notes = reached.notes(state)
        for line in (*notes, *pending_lines(left, shlex.quote(str(spec)))):
            progress(f"Note: {printable(line)}")
    plan = unroll(cluster.target, state)
    document = to_document(plan, cluster.digest, spec_path=str(spec), advice=cluster.advice())
    if any(step.kind == "install-etcd" for step in document.steps):
        from etcdplan.hosts.etcd_archive import check_archive

        for finding in check_archive(cluster.loaded):
            color = colored(sys.stderr, no_color=no_color)
            progress(finding_text(finding, spec, color=color, width=width()))
    if out is not None:
        write_file(out, dump(document))
    if json:
        result(plan_json(document))
    else:
        color = colored(sys.stdout, no_color=no_color)
        saved = str(out) if out else None
        result(
            plan_text(
                document, color=color, width=width(), spec_path=str(spec), saved_to=saved, verbose=verbose
            )
        )
    if document.refusals:
        first = document.refusals[0]
        if json:
            progress(first.message)
        return first.exit_code
    return 2 if detailed_exitcode and document.changes else 0
