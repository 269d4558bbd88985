"""What a run may do: the approved plan, as groups of step IDs."""

from collections.abc import Sequence

from etcdplan.errors import StaleError
from etcdplan.planner.document import UNASKED, PlanDocument
from etcdplan.planner.unroll import PlannedStep


def groups_of(document: PlanDocument) -> tuple[tuple[str, ...], ...]:
    """Return the step IDs of a plan by group, in order, without those that need no approval."""
    groups: dict[int, list[str]] = {}
    for step in document.steps:
        if step.kind not in UNASKED:
            groups.setdefault(step.group, []).append(step.id)
    return tuple(tuple(ids) for _, ids in sorted(groups.items()))


class Approved:
    """The remainder of an approved plan.

    Within a group the order is free, since a new leader may change it; groups are never gone back to. Steps that the
    cluster shows to be done are not asked for again.
    """

    def __init__(self, groups: Sequence[Sequence[str]]) -> None:
        self._groups = [set(group) for group in groups]
        self._place = 0

    def take(self, planned: PlannedStep) -> None:
        """Allow the step, or raise `StaleError` saying which step came instead of the approved ones."""
        if planned.step.unasked or self.reach(planned.step.id) or planned.repair:
            return
        raise StaleError(
            f"The plan is stale: the next step would be '{planned.step.summary()}', which was not approved here.",
            hint="The cluster or the spec has changed. Plan again, and approve the new plan.",
        )

    def reach(self, step: str) -> bool:
        """Go on to the group of a step that begins, or began in an earlier run; False when none has it any more."""
        for place in range(self._place, len(self._groups)):
            if step in self._groups[place]:
                self._place = place
                return True
        return False

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Return the groups that are left, the current one included."""
        return tuple(tuple(sorted(group)) for group in self._groups[self._place :])


_SHOWN = 20


def what_changed(before: PlanDocument, now: PlanDocument) -> str:
    """Name the facts that differ between the plan that was approved and the one that reality asks for now, a line each.

    More than a screen of them mostly follow from the first.
    """
    lines = []
    if before.spec_digest != now.spec_digest:
        lines.append("the spec is another one")
    if before.cluster != now.cluster:
        lines.append(f"the cluster is {now.cluster.name} ({now.cluster.id}), not {before.cluster.id}")
    for name in sorted(before.facts.keys() | now.facts.keys()):
        old, new = before.facts.get(name, "not there"), now.facts.get(name, "not there")
        if old != new:
            lines.append(f"{name}: {old} -> {new}")
    if len(lines) > _SHOWN:
        lines[_SHOWN:] = [f"and {len(lines) - _SHOWN} more"]
    return "\n".join(f"- {line}" for line in lines or ["the steps differ"])
