"""An API server's host that has left the spec is remembered until it is seen to run none, or was given up."""

from dataclasses import replace

import pytest

from etcdplan.spec.models import Spec
from tests.faults.stories import requested
from tests.support.fake_runs import Runner
from tests.support.fake_world import FakeWorld
from tests.support.scenarios import fresh, make_spec

FORMER = "10.0.0.12"
UNIT = "apiserver/cp2"


def _applied() -> tuple[FakeWorld, Spec]:
    """A cluster with two API servers that was applied, and a spec that has lost the second one."""
    world, before = FakeWorld(), make_spec(3, api_servers=2)
    fresh(before, world)
    Runner(world, before).apply()
    world.settle(30)
    return world, make_spec(3, api_servers=1)


def _asked() -> tuple[FakeWorld, Spec]:
    world, spec = _applied()
    world.asked = requested(spec)
    world.allow_outage = True
    return world, spec


def test_a_restore_is_refused_while_its_api_server_runs() -> None:
    world, spec = _asked()
    [refusal] = Runner(world, spec).plan().refusals
    assert refusal.code == "api-server-not-listed"
    assert FORMER in refusal.message
    world.kill(FORMER, UNIT)
    Runner(world, spec).apply()
    assert not world.violations
    assert not Runner(world, spec).plan().steps
    assert FORMER not in Runner(world, spec).observe().hosts


def test_a_restore_waits_for_it_unless_it_is_said_to_be_gone() -> None:
    world, spec = _asked()
    world.power_cut(FORMER)
    [refusal] = Runner(world, spec).plan().refusals
    assert (refusal.code, refusal.subject) == ("host-unreachable", f"host/{FORMER}")
    assert world.asked is not None
    world.asked = replace(world.asked, gone=(FORMER,))
    Runner(world, spec).apply()
    assert not Runner(world, spec).plan().steps

    world.boot(FORMER)
    world.start(FORMER, UNIT)
    changed = make_spec(3, api_servers=1, etcd={"heartbeatInterval": "50ms"})
    Runner(world, changed).apply()
    assert FORMER in Runner(world, changed).observe().hosts, "its API server runs"


@pytest.mark.parametrize(("runs", "remembered"), [(True, True), (False, False)])
def test_when_a_spec_without_it_is_applied(runs: bool, remembered: bool) -> None:
    world, _ = _applied()
    if not runs:
        world.kill(FORMER, UNIT)
    spec = make_spec(3, api_servers=1, etcd={"heartbeatInterval": "50ms"})
    Runner(world, spec).apply()
    assert (FORMER in Runner(world, spec).observe().hosts) == remembered


def test_a_silent_one_is_told_of_and_given_up() -> None:
    world, spec = _applied()
    world.power_cut(FORMER)
    assert any(FORMER in note and "counts as gone" in note for note in Runner(world, spec).plan().notes)
    spec = make_spec(3, api_servers=1, etcd={"heartbeatInterval": "50ms"})
    Runner(world, spec).apply()
    assert FORMER not in Runner(world, spec).observe().hosts
