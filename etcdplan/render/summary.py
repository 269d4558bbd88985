"""What a plan amounts to, in a line each."""

import shlex
from collections.abc import Iterator, Sequence

from etcdplan.model.quorum import Quorum
from etcdplan.planner.document import PlanDocument, StepEntry
from etcdplan.render.printable import counted
from etcdplan.render.steps import stops


def standing(document: PlanDocument) -> str:
    """Say how the cluster stands before the plan."""
    unseen = document.facts.get("members")
    if unseen is not None:
        return f"its members are {unseen}"
    now = _quorum(document)
    if not now.voters:
        return "not founded yet"
    voters = f"{now.healthy} of {counted(now.voters, 'voter')} healthy"
    return f"{voters}, {now.tolerates} more may fail" if now.holds else f"{voters}, no quorum"


def _quorum(document: PlanDocument) -> Quorum:
    """Count the voters among the facts that the plan rests on."""
    members = [fact for address, fact in document.facts.items() if address.startswith("member/")]
    voters = [fact for fact in members if ", voter, " in fact]
    return Quorum(len(voters), sum(fact.endswith(", serves") for fact in voters))


def step_counts(steps: Sequence[StepEntry]) -> str:
    """Return `9 steps, 2 destructive (4, 5), 3 restarts (1, 2, 8)`."""
    parts = [counted(len(steps), "step")]
    destructive = [i for i, step in enumerate(steps, 1) if step.destructive]
    restarting = [i for i, step in enumerate(steps, 1) if step.restarts]
    if destructive:
        parts.append(f"{len(destructive)} destructive ({numbers(destructive)})")
    if restarting:
        restarts = sum(len(step.restarts) for step in steps)
        parts.append(f"{counted(restarts, 'restart')} ({numbers(restarting)})")
    stopping = [i for i, step in enumerate(steps, 1) if stops(step)]
    if stopping:
        parts.append(f"{counted(len(stopping), 'API server')} stopped ({numbers(stopping)})")
    return ", ".join(parts)


def numbers(ordered: Sequence[int]) -> str:
    """Return `1-3, 5`."""
    runs: list[tuple[int, int]] = []
    for number in ordered:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)


def tolerance(document: PlanDocument) -> str:
    """Say how few failures the cluster survives at the worst point, and when; empty without steps."""
    steps = document.steps
    if not steps:
        return ""
    now = _quorum(document)
    end = _failures(steps[-1].quorum.tolerates_after)
    if not now.voters:
        return f"Failure tolerance: {end} when done."
    points = [now.tolerates, *(step.quorum.tolerates_after for step in steps)]
    during = {n: step.quorum.tolerates_during for n, step in enumerate(steps, 1) if step.quorum.dips}
    worst = min([*points, *during.values()])
    if worst == max(points):
        return f"Failure tolerance: {_failures(worst)} throughout."
    when = [*_spans(points, worst)]
    dips = [number for number, left in during.items() if left == worst]
    if dips:
        when.append(f"during {'steps' if len(dips) > 1 else 'step'} {numbers(dips)}")
    return f"Lowest failure tolerance: {_failures(worst)}, {'; '.join(when)}. When done: {end}."


def _spans(points: Sequence[int], worst: int) -> Iterator[str]:
    """Yield the stretches between steps at which the tolerance is at its worst; point 0 is before all steps."""
    begin: int | None = None
    for point, left in enumerate([*points, worst + 1]):
        if left == worst and begin is None:
            begin = point
        elif left != worst and begin is not None:
            until = f"until step {point}" if point < len(points) else "to the end"
            yield f"{f'from step {begin}' if begin else 'now and'} {until}"
            begin = None


def _failures(tolerates: int) -> str:
    return f"{tolerates}" if tolerates >= 0 else "none (no quorum)"


def next_command(*, spec_path: str | None, saved_to: str | None, plan_path: str | None) -> list[str]:
    """Return the lines that say what to type next."""
    if saved_to is not None:
        saved = next_command(spec_path=None, saved_to=None, plan_path=saved_to)
        return [f"Saved the plan to: {saved_to}", *saved]
    if plan_path is not None:
        return ["To carry out exactly this plan:", _apply(plan_path)]
    if spec_path is not None:
        return [
            "The plan was not saved (--out FILE saves it). To plan again and carry it out after approval:",
            _apply(spec_path),
        ]
    return []


def _apply(path: str) -> str:
    return f"    etcdplan apply {shlex.quote(path)}"
