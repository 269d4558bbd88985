"""Showing a person what would be done, and asking for approval."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from etcdplan.cli.output import colored, progress, result, width
from etcdplan.errors import UsageError

if TYPE_CHECKING:
    from etcdplan.cli.cluster import LiveCluster
    from etcdplan.model.state import State
    from etcdplan.planner.document import PlanDocument


def shown(cluster: "LiveCluster", state: "State", spec: Path, *, no_color: bool) -> "PlanDocument":
    """Plan from a state, show the plan, and return it; raise `typer.Exit` when it is refused."""
    from etcdplan.planner.document import to_document
    from etcdplan.planner.unroll import unroll
    from etcdplan.render.text import plan_text

    plan = unroll(cluster.target, state)
    document = to_document(plan, cluster.digest, spec_path=str(spec), advice=cluster.advice())
    result(plan_text(document, color=colored(sys.stdout, no_color=no_color), width=width()))
    for refusal in document.refusals:
        raise typer.Exit(refusal.exit_code)
    return document


def ask(question: str, *, instead: str, answer: str = "yes") -> None:
    """Return when a person at a terminal says `answer`; else raise `UsageError`.

    `instead` is what to do where there is no terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError("There is no terminal to ask for approval.", hint=instead)
    progress(f"Only '{answer}' will be accepted to approve.")
    try:
        said = input(f"{question} ")
    except (EOFError, KeyboardInterrupt):
        progress("")
        said = ""
    if said != answer:
        raise UsageError("Not approved. Nothing was changed.")


def ask_to_restore(cluster: str, snapshot: str | None) -> None:
    """Return when a person writes the name of the cluster that is replaced, or whose restore is taken back (None).

    Raises `UsageError` otherwise.
    """
    what = (
        f"This takes the restore of cluster {cluster} back."
        if snapshot is None
        else f"This puts {snapshot} in the place of what cluster {cluster} holds."
    )
    ask(f"{what} Its name, to approve?", instead="Use --auto-approve.", answer=cluster)
