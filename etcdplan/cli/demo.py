"""The main job, shown: a cluster from nothing, a failure under load, a plan, an apply, and nothing lost."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from etcdplan.cli.cluster import connect, load
from etcdplan.cli.output import colored, result, width
from etcdplan.cli.session import session_of, with_failpoints
from etcdplan.errors import RefusedError
from etcdplan.planner.document import to_document
from etcdplan.planner.unroll import unroll
from etcdplan.render.text import plan_text

if TYPE_CHECKING:
    from etcdplan.lab.directory import LabDirectory
    from etcdplan.lab.writers import Writers

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
            result(plan_text(document, color=color, width=width()))
        for refusal in document.refusals:
            raise RefusedError(refusal.message, hint=refusal.remedy)
        with session_of(live, [], color=colored(sys.stderr)) as session:
            return session.apply(document)


def run_demo(version: str, etcd_dir: Path | None, *, keep: bool) -> int:
    """Run the demonstration; 0 when every acknowledged write was read back, else 1."""
    from etcdplan.cli.lab import make
    from etcdplan.lab.directory import LabDirectory
    from etcdplan.lab.processes import break_member, destroy
    from etcdplan.lab.writers import WRITERS

    destroy(LabDirectory.named(NAME))
    try:
        made = make(NAME, 3, version, etcd_dir)
        _title(f"1. Three members of etcd {version} with TLS, from nothing")
        converge(made.spec, show_plan=True)
        writers = _writers(made)
        with writers:
            _title(f"2. {WRITERS} writers, and a member that dies with its disk")
            time.sleep(QUIET)
            result(break_member(made, VICTIM, "disk"))
            _title("3. The plan that heals it, and its apply")
            converge(made.spec, show_plan=True)
            time.sleep(QUIET)
        report = writers.report()
        lost = writers.lost()
        _title("4. What the writers noticed")
        result(
            f"writes acknowledged  {report.acknowledged}\n"
            f"writes lost          {lost}\n"
            f"not acknowledged     {report.failed}  (refused, or without an answer in time: they may be there or not)\n"
            f"longest gap          {report.longest_gap:.2f} s without an acknowledged write\n"
            f"slowest write        {report.slowest:.2f} s"
        )
    finally:
        if not keep:
            destroy(LabDirectory.named(NAME))
    if keep:
        result(f"\nThe lab stays: etcdplan plan {made.spec}; etcdplan lab down {NAME}")
    return 1 if lost else 0


def _writers(made: "LabDirectory") -> "Writers":
    """Return writers over the client URLs of the lab's spec."""
    from etcdplan.lab.writers import TlsFiles, Writers

    urls = [member.client_url for member in load(made.spec).target.members.values()]
    return Writers(
        urls, tls=TlsFiles(made.pki / "etcd-ca.crt", made.pki / "operator.crt", made.pki / "operator.key")
    )


def _title(text: str) -> None:
    result(f"\n{text}\n{'=' * len(text)}\n")
