"""The main job, shown: a cluster from nothing, a failure under load, a plan, an apply, and nothing lost."""

import sys
from pathlib import Path

from etcdplan.cli.cluster import connect, load
from etcdplan.cli.output import colored, progress, result, width
from etcdplan.cli.session import session_of, with_failpoints
from etcdplan.errors import RefusedError
from etcdplan.planner.document import to_document
from etcdplan.planner.unroll import unroll
from etcdplan.render.text import plan_text

NAME = "demo"
VICTIM = "member2"
QUIET = 2.0
"""Seconds of undisturbed writing before the failure and after the repair."""


def converge(spec: Path, *, show_plan: bool) -> int:
    """Plan and apply a spec without asking, and return the number of steps done."""
    cluster = load(spec)
    with connect(cluster, [], wrap=with_failpoints) as live:
        document = to_document(unroll(live.target, live.observe()), live.digest, spec_path=str(spec))
        if show_plan:
            color = colored(sys.stdout)
            result(plan_text(document, color=color, width=width(), spec_path=str(spec)))
        for refusal in document.refusals:
            raise RefusedError(refusal.message, hint=refusal.remedy)
        with session_of(live, [], color=colored(sys.stderr)) as session:
            return session.apply(document)


def run_demo(version: str, etcd_dir: Path | None, *, keep: bool) -> int:
    """Run the demonstration and return 0 when no acknowledged write was lost."""
    from etcdplan.cli.lab import make
    from etcdplan.lab.directory import LabDirectory
    from etcdplan.lab.processes import break_member, destroy

    destroy(LabDirectory.named(NAME))
    made = make(NAME, 3, version, etcd_dir)
    try:
        _title(f"1. Three members of etcd {version} with TLS, from nothing")
        converge(made.spec, show_plan=True)
        _title("2. Twenty writers, and a member that dies with its disk")
        progress(break_member(made, VICTIM, "disk"))
        _title("3. The plan that heals it, and its apply")
        converge(made.spec, show_plan=True)
    finally:
        if not keep:
            destroy(made)
    return 0


def _title(text: str) -> None:
    result(f"\n{text}\n{'=' * len(text)}\n")
