"""etcdplan apply PLAN|SPEC"""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etcdplan.cli.approval import ask, shown
from etcdplan.cli.options import AgeIdentity, EtcdDir, NoColor, Scratch
from etcdplan.cli.output import colored, progress, result
from etcdplan.errors import EtcdplanError, UsageError

if TYPE_CHECKING:
    from etcdplan.cli.cluster import LiveCluster
    from etcdplan.planner.document import PlanDocument

What = Annotated[
    Path,
    typer.Argument(
        metavar="PLAN|SPEC",
        help="A saved plan, or a spec to plan for now.",
        show_default=False,
        readable=False,
    ),
]
AutoApprove = Annotated[
    bool, typer.Option("--auto-approve", help="Do not ask; a saved plan is its own approval.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Finish the run that the hosts remember; needs the SPEC.")
]
SpecOption = Annotated[
    Path | None,
    typer.Option(
        "--spec", metavar="SPEC", help="The spec of a saved plan, when it has moved.", readable=False
    ),
]


def apply(
    what: What,
    auto_approve: AutoApprove = False,
    resume: Resume = False,
    spec: SpecOption = None,
    etcd_dir: EtcdDir = None,
    scratch: Scratch = None,
    no_color: NoColor = False,
    age_identity: AgeIdentity = None,
) -> int:
    """Carry out a plan step by step: a saved one, one made now from a spec, or the rest of an unfinished one.

    Ctrl-C, SIGTERM and SIGHUP stop it at the next checkpoint (6), unless nohup has SIGHUP ignored; a second Ctrl-C or
    SIGTERM stops it at once (130). Whatever is not approved changes nothing (64).
    """
    from etcdplan.cli.cluster import connect, load
    from etcdplan.cli.resting import BackupTaker, prepare
    from etcdplan.cli.saved import plan_or_spec
    from etcdplan.cli.session import session_of, with_failpoints

    saved = plan_or_spec(what)
    if saved is not None and resume:
        raise UsageError(
            f"--resume takes the spec, and {what} is a plan.", hint="etcdplan apply --resume SPEC."
        )
    if saved is not None and auto_approve:
        raise UsageError(
            "A saved plan is its own approval: --auto-approve goes with a spec.",
            hint=f"etcdplan apply {shlex.quote(str(what))}",
        )
    if saved is None and spec is not None:
        raise UsageError("--spec goes with a saved plan.", hint="etcdplan apply SPEC.")
    path = what if saved is None else spec or Path(saved.spec_path)
    if saved is not None and spec is None and not path.exists():
        raise EtcdplanError(
            f"The spec of this plan was at {path}, and is not there.",
            hint=f"Say where it is: etcdplan apply {shlex.quote(str(what))} --spec SPEC.",
        )
    with connect(load(path), age_identity or [], wrap=with_failpoints) as cluster:
        if saved is None and not resume:
            saved = _approve(cluster, path, auto_approve=auto_approve, no_color=no_color)
            if saved is None:
                return 0
        if saved is not None and any(step.kind == "install-etcd" for step in saved.steps) and cluster.archive:
            cluster.archive.files()  # Before anything is changed.
        if saved is not None and any(step.kind == "install-etcdplan" for step in saved.steps):
            from etcdplan.hosts.own_archive import packed

            for host in cluster.target.backup_hosts.values():
                packed(host.job.extras)
        if saved is not None:
            prepare(BackupTaker(cluster, age_identity or [], etcd_dir, scratch), saved)
        color = colored(sys.stderr, no_color=no_color)
        with session_of(
            cluster, age_identity or [], color=color, etcd_dir=etcd_dir, scratch=scratch
        ) as session:
            done = session.resume() if saved is None else session.apply(saved)
    if not done:
        result("Nothing is left to do. The cluster matches the specification.")
    return 0


def _approve(
    cluster: "LiveCluster", path: Path, *, auto_approve: bool, no_color: bool
) -> "PlanDocument | None":
    """Plan now, show the plan and ask; None when there is nothing to do."""
    from etcdplan.render.printable import printable

    state = cluster.observe(measure=True)
    for note in cluster.notes(state):
        progress(f"Note: {printable(note)}")
    document = shown(cluster, state, path, no_color=no_color)
    if not document.steps:
        return None
    if not auto_approve:
        instead = "Use --auto-approve, or save the plan, have it reviewed, and apply the file."
        ask("Apply this plan?", instead=instead)
    return document
