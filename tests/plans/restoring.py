"""Restores that were begun: from the first note on, the hosts know what is to be done."""

from dataclasses import replace

from etcdplan.model.effects import HostEffect, WriteRecord
from etcdplan.model.restore import Restore, bump_for, new_token
from etcdplan.model.state import State
from etcdplan.planner.unroll import unroll
from tests.plans.clusters import VERSION, disk_gone, happened, running, target_of
from tests.plans.registry import THREE, Case, case

SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def _request(snapshot: str = "prod-20251231T230000Z-00c0ffee") -> Restore:
    target = target_of(THREE)
    return Restore(
        snapshot,
        SHA256,
        7_418_231,
        tuple((url, member.name) for url, member in target.members.items()),
        new_token(target.cluster, SHA256, target.founding_id),
        bump_for(VERSION),
        target.founding_id,
    )


def _restoring(state: State, *, effects: int) -> State:
    """Return the state in which a restore was cut after so many effects."""
    target = replace(target_of(THREE), restore=_request())
    plan = unroll(target, state)
    assert not plan.refusals, plan.refusals
    left = [effect for planned in plan.steps for effect in planned.step.effects(planned.before)]
    assert all(isinstance(effect, HostEffect) for effect in left[:effects])
    return happened(state, *left[:effects])


@case
def restore_begun() -> Case:
    """The first host knows of a restore; everything else is still to be done, and the cluster still serves."""
    return THREE, _restoring(running(THREE), effects=1)


@case
def restore_data_half_swapped() -> Case:
    """All data were lost; one member's restored data are in place when the run dies."""
    lost = disk_gone(running(THREE), "10.0.0.1", "10.0.0.2", "10.0.0.3")
    return THREE, _restoring(lost, effects=6 + 3 + 3 + 3 + 1)


@case
def refused_two_restores() -> Case:
    """Two hosts were told of different restores."""
    state = _restoring(running(THREE), effects=1)
    record = state.host("10.0.0.2").record.get()
    assert record is not None
    other = replace(record, restore=_request("prod-20251230T230000Z-0badcafe"))
    return THREE, happened(state, WriteRecord("10.0.0.2", other))
