"""A host that a restore was done without comes back: it harms nobody, is told of, and is taken out of service."""

from dataclasses import replace

import pytest

from etcdplan.diff.view import View
from etcdplan.errors import StoppedError
from etcdplan.model.restore import Restore
from etcdplan.spec.models import Spec
from tests.support.fake_runs import Runner
from tests.support.fake_world import FakeWorld
from tests.support.restores import asked_restore
from tests.support.scenarios import founded, fresh, make_spec

OLD = "10.0.0.3"


def _asked(world: FakeWorld, spec: Spec) -> Restore:
    """Ask for a restore of a snapshot with the members of a spec."""
    runner = Runner(world, spec)
    return asked_restore(runner.target, View(runner.target, runner.observe()).cluster_id)


def _moved(*hosts: int) -> tuple[FakeWorld, Spec]:
    """A cluster of three, and a spec that has its members elsewhere."""
    world = founded(spec=make_spec(3, api_servers=1))
    spec = make_spec(hosts=[f"10.0.0.{host}" for host in hosts], api_servers=1)
    fresh(spec, world)
    world.allow_outage = True
    return world, spec


def _restored_without_it() -> tuple[FakeWorld, Runner]:
    """Restore onto other hosts while the host of an old member is off, and the spec does not name it any more."""
    world, spec = _moved(1, 2, 4)
    world.power_cut(OLD)
    world.asked = _asked(world, spec)
    refused = Runner(world, spec).plan()
    assert [refusal.code for refusal in refused.refusals] == ["host-unreachable"]
    world.asked = replace(world.asked, gone=(OLD,))
    Runner(world, spec).apply()
    return world, Runner(world, spec)


def test_an_old_member_that_comes_late_is_told_of_and_fenced() -> None:
    world, runner = _restored_without_it()
    assert runner.apply() == 0
    world.boot(OLD)
    world.settle(30)
    plan = runner.plan()
    assert [planned.step.kind for planned in plan.steps] == ["retire-etcd"]
    assert runner.apply() == 1
    assert world.machines[OLD].etcd.process is None
    assert world.machines[OLD].etcd.held
    assert len(world.machines[OLD].aside) == 1
    assert set(world.serving()) == {"10.0.0.1", "10.0.0.2", "10.0.0.4"}
    assert not runner.plan().steps
    # It is no part of anything any more: nobody waits for it when it is off again.
    world.power_cut(OLD)
    assert OLD not in runner.observe().hosts


@pytest.mark.parametrize("hosts", [(4,), (4, 5, 6), (3, 4, 5, 6, 7)], ids=len)
def test_old_members_that_serve_elsewhere_are_stopped_before_the_new_ones_start(
    hosts: tuple[int, ...],
) -> None:
    world, spec = _moved(*hosts)
    world.asked = _asked(world, spec)
    Runner(world, spec).apply()
    assert not world.violations
    done = [(one.effect, one.host, *one.args) for one in world.effects_log]
    new = {f"10.0.0.{host}" for host in hosts}
    first = min(done.index(("start", host, "etcd")) for host in new)
    for old in ("10.0.0.1", "10.0.0.2", "10.0.0.3"):
        assert done.index(("hold", old, "etcd")) < first
        assert world.machines[old].aside
    assert set(world.serving()) == new
    assert {host for host in world.machines if world.machines[host].etcd.process} == new
    assert not Runner(world, spec).plan().steps


def test_a_restore_that_has_stopped_a_former_member_is_not_taken_back() -> None:
    world, spec = _moved(4, 5, 6)
    world.asked = _asked(world, spec)
    old = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
    with pytest.raises(StoppedError):
        Runner(world, spec, stop=lambda: any(world.machines[host].etcd.held for host in old)).apply()
    assert not any(world.machines[f"10.0.0.{host}"].etcd.held for host in (4, 5, 6))
    world.asked, world.abandons = None, True
    [refusal] = Runner(world, spec).plan().refusals
    assert refusal.code == "too-late"
    assert refusal.subject.removeprefix("host/") in old


def test_a_restore_is_taken_back_where_a_member_was_taken_out_of_service_long_before() -> None:
    before, spec = make_spec(3, api_servers=["10.0.0.3"]), make_spec(2, api_servers=["10.0.0.3"])
    world = founded(spec=before)
    Runner(world, spec).apply()
    assert world.machines[OLD].etcd.held
    world.asked = _asked(world, spec)
    world.allow_outage = True
    with pytest.raises(StoppedError):
        Runner(world, spec, stop=lambda: any(machine.staged for machine in world.machines.values())).apply()
    world.asked, world.abandons = None, True
    plan = Runner(world, spec).plan()
    assert not plan.refusals
    assert {planned.step.kind for planned in plan.steps} == {"abandon-restore", "forget-restore"}
