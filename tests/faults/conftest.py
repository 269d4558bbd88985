"""Planning is pure, and the runs of these tests pass through the same states again and again: plan each only once."""

import pickle
from collections import OrderedDict
from collections.abc import Iterator

import pytest

from etcdplan.apply import executor, session
from etcdplan.diff.target import Target
from etcdplan.model.state import State
from etcdplan.planner.unroll import Plan, unroll
from tests.support import fake_runs

_KEPT = 3000
_plans: OrderedDict[bytes, Plan] = OrderedDict()


def remembering(target: Target, state: State) -> Plan:
    """Unroll, or return what was unrolled from exactly this state, times included."""
    key = pickle.dumps((target, state))
    found = _plans.get(key)
    if found is None:
        found = _plans[key] = unroll(target, state)
        if len(_plans) > _KEPT:
            _plans.popitem(last=False)
    return found


@pytest.fixture(autouse=True)
def _plan_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (executor, session, fake_runs):
            patch.setattr(module, "unroll", remembering)
        yield
