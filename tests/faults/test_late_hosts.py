"""A host that a restore was done without comes back: it harms nobody, is told of, and is taken out of service."""

from dataclasses import replace

from etcdplan.diff.view import View
from etcdplan.model.restore import Restore, bump_for, new_token
from tests.support.fake_runs import Runner
from tests.support.fake_world import FakeWorld
from tests.support.scenarios import founded, fresh, make_spec

OLD = "10.0.0.3"


def _restored_without_it() -> tuple[FakeWorld, Runner]:
    """Restore onto other hosts while the host of an old member is off, and the spec does not name it any more."""
    world = founded(spec=make_spec(3, api_servers=1))
    world.power_cut(OLD)
    spec = make_spec(hosts=["10.0.0.1", "10.0.0.2", "10.0.0.4"], api_servers=1)
    fresh(spec, world)
    runner = Runner(world, spec)
    target, sha256 = runner.target, "5a" * 32
    replaces = View(target, runner.observe()).cluster_id
    world.allow_outage = True
    world.asked = Restore(
        "n-20260101T000000Z-00c0ffee",
        sha256,
        1234,
        tuple((url, member.name) for url, member in sorted(target.members.items())),
        new_token(target.cluster, sha256, replaces),
        bump_for(target.version),
        replaces,
    )
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
