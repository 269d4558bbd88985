"""A restore's data lie where etcd is started on them."""

from dataclasses import replace

import pytest

from etcdplan.model.effects import HostEffect, Start
from etcdplan.model.facts import known
from etcdplan.model.restore_effects import AdoptStaged, StageData
from etcdplan.model.state import ETCD, PLACES, Host, State, Unit
from etcdplan.planner.unroll import Plan, unroll
from etcdplan.spec.models import Spec
from tests.faults.stories import requested
from tests.support.scenarios import make_spec, target_of

NEW = "10.0.0.3"
UNIT = {"data-dir": "/var/lib/etcd/default", "name": "default"}


def _planned(spec: Spec, unit: Unit) -> Plan:
    """Plan a restore onto machines of which one has such a unit."""
    target = target_of(spec)
    hosts = {host: Host(host) for host in target.hosts()}
    hosts[NEW] = replace(hosts[NEW], etcd=unit)
    return unroll(replace(target, restore=requested(spec)), State(hosts))


@pytest.mark.parametrize("unit", [Unit(), Unit(known(UNIT))], ids=["none", "a-package"])
@pytest.mark.parametrize("elsewhere", [{}, {"walDir": "/wal/etcd"}], ids=["", "wal"])
def test_where_nothing_is_the_unit_is_told_first(unit: Unit, elsewhere: dict[str, str]) -> None:
    spec = make_spec(3, etcd=elsewhere)
    wanted = target_of(spec).member_hosts[NEW].settings
    plan = _planned(spec, unit)
    assert not plan.refusals
    seen: list[type[HostEffect]] = []
    for planned in plan.steps:
        state = planned.before
        for effect in planned.step.effects(state):
            if isinstance(effect, StageData | AdoptStaged | Start) and effect.host == NEW:
                there = state.host(NEW).unit(ETCD).settings.get() or {}
                assert [there.get(flag) for flag in PLACES] == [wanted.get(flag) for flag in PLACES]
                seen.append(type(effect))
            state = effect.apply(state)
    assert seen[:3] == [StageData, AdoptStaged, Start]
