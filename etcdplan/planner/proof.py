"""The proof of a step: each of its effects keeps the invariants, and each place where it can be cut leads on.

The local law: every cut state, once settled, equals the next state, or the policy proposes from it the same step with
the same effect. By induction a run that died anywhere is finished by planning again.
"""

from collections.abc import Iterator

from etcdplan.diff.target import Target
from etcdplan.model.effects import ImpossibleEffect
from etcdplan.model.settle import settle
from etcdplan.model.state import State
from etcdplan.planner.invariants import Transition, violations
from etcdplan.planner.policy import propose
from etcdplan.steps.base import Step


def unproven(target: Target, step: Step, before: State, after: State, start: State) -> Iterator[str]:
    """Yield what is wrong with a step between two settled states; nothing when it is proven."""
    now = before
    effects = step.effects(before)
    for place, effect in enumerate(effects, 1):
        try:
            cut = effect.apply(now)
        except ImpossibleEffect as error:
            yield str(error)
            return
        yield from violations(Transition(target, effect, now, cut, start))
        now = cut
        if place < len(effects):
            yield from _cut(target, step, settle(cut), after)


def _cut(target: Target, step: Step, cut: State, after: State) -> Iterator[str]:
    if cut == after:
        return
    _, proposal = propose(target, cut)
    if not isinstance(proposal, Step) or proposal.id != step.id:
        what = proposal.id if isinstance(proposal, Step) else getattr(proposal, "code", "nothing")
        yield f"cut in its middle, the next would be {what}"
        return
    if proposal.after(cut) != after:
        yield "cut in its middle and resumed, it would end elsewhere"
