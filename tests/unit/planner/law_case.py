"""What laws are tried on: a pair of target and state, with its plan."""

from random import Random

from etcdplan.diff.view import View
from etcdplan.model.state import State
from etcdplan.planner.unroll import unroll
from tests.support.generators import Pair


class Case:
    """A pair with its plan."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.target = pair.target
        self.plan = unroll(pair.target, pair.state)

    def rng(self, law: str) -> Random:
        """Return a source of randomness for one law, whatever other laws drew before."""
        return Random(f"{self.pair.seed} {law}")

    @property
    def refused(self) -> bool:
        """Whether the plan may not be carried out."""
        return bool(self.plan.refusals)

    @property
    def restores(self) -> bool:
        """Whether a restore is asked for or under way."""
        return View(self.target, self.plan.state).restore is not None

    @property
    def end(self) -> State:
        """The predicted state at the end of the plan."""
        return self.plan.steps[-1].after if self.plan.steps else self.plan.state
