"""An API server that the spec does not name is found whenever it comes, and nothing is stopped or started beside it."""

import pytest

from etcdplan.diff.target import Target
from etcdplan.errors import RefusedError
from etcdplan.spec.models import Spec
from tests.faults.stories import requested
from tests.support.fake_runs import Runner
from tests.support.fake_world import FakeWorld
from tests.support.scenarios import founded, make_spec

HOST = "10.0.0.2"
LOOPBACK = {"etcd-servers": "https://127.0.0.1:2379"}


def _asked() -> tuple[FakeWorld, Spec]:
    spec = make_spec(3, api_servers=1)
    world = founded(spec=spec)
    world.asked = requested(spec)
    world.allow_outage = True
    return world, spec


def test_a_restore_is_not_begun_beside_one() -> None:
    world, spec = _asked()
    world.machines[HOST].strays["static-pod"] = LOOPBACK
    [refusal] = Runner(world, spec).plan().refusals
    assert refusal.code == "api-server-not-listed"
    assert f"API server static-pod on {HOST}" in refusal.message
    assert "/etc/kubernetes/manifests" in refusal.remedy


@pytest.mark.parametrize("effect", ["stage_data", "hold", "adopt_staged", "start"])
def test_one_that_comes_while_a_cluster_is_restored_stops_it(effect: str) -> None:
    world, spec = _asked()
    machine = world.machines[HOST]

    def comes() -> bool:
        if any(done.effect == effect for done in world.effects_log) and not machine.strays:
            machine.strays["static-pod"] = LOOPBACK
            world.effects_log.clear()
        return False

    with pytest.raises(RefusedError, match=f"API server static-pod on {HOST}"):
        Runner(world, spec, stop=comes).apply()
    assert len({done.host for done in world.effects_log if done.effect not in ("write", "append")}) <= 1

    machine.strays.clear()
    Runner(world, spec).resume()
    assert not world.violations
    assert not Runner(world, spec).plan().steps


def test_no_member_is_removed_under_one() -> None:
    spec = make_spec(5, api_servers=1)
    world, smaller = founded(spec=spec), make_spec(3, api_servers=1)
    target: Target = Runner(world, spec).target
    leaving = next(member for member in target.members.values() if member.host == "10.0.0.5")
    world.machines[HOST].strays["k8s.service"] = {"etcd-servers": leaving.client_url}
    plan = Runner(world, smaller).plan()
    assert [refusal.code for refusal in plan.refusals] == ["api-server-not-listed"]
    assert any("API server k8s.service on" in note for note in plan.notes)
