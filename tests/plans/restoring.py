"""Restores that were begun: from the first note on, the hosts know what is to be done."""

from dataclasses import replace

from etcdplan.model.effects import HostEffect, WriteRecord
from etcdplan.model.facts import known
from etcdplan.model.restore import Restore
from etcdplan.model.state import State
from etcdplan.planner.unroll import unroll
from tests.plans.clusters import disk_gone, happened, running, silent, target_of
from tests.plans.registry import THREE, Case, case
from tests.support.restores import asked_restore

SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def _request(snapshot: str = "prod-20251231T230000Z-00c0ffee", gone: tuple[str, ...] = ()) -> Restore:
    target = target_of(THREE)
    return asked_restore(
        target, target.founding_id, snapshot=snapshot, sha256=SHA256, revision=7_418_231, gone=gone
    )


def _restoring(state: State, *, effects: int, gone: tuple[str, ...] = ()) -> State:
    """Return the state in which a restore was cut after so many effects."""
    target = replace(target_of(THREE), restore=_request(gone=gone))
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


@case
def restore_without_a_host_that_is_gone() -> Case:
    """The host of an API server was declared gone, and does not answer while everything else is restored."""
    state = silent(running(THREE), "10.0.1.3")
    return THREE, _restoring(state, effects=1, gone=("10.0.1.3",))


@case
def refused_restore_with_another_ca() -> Case:
    """A restore was begun, and the spec has another CA than the members that run."""
    state = _restoring(running(THREE), effects=1)
    for number in (1, 2, 3):
        host = state.host(f"10.0.0.{number}")
        state = state.with_host(replace(host, trust=known(("1d" * 32,))))
    return THREE, state


@case
def refused_host_silent_in_a_restore() -> Case:
    """The host of an API server does not answer when a restore has begun, and nobody has said that it is gone."""
    return THREE, silent(_restoring(running(THREE), effects=1), "10.0.1.3")


@case
def restore_abandoned() -> Case:
    """A restore is taken back when two members' data lie staged; one host knows that already."""
    state = _restoring(running(THREE), effects=6 + 2)
    record = state.host("10.0.0.1").record.get()
    assert record is not None and record.restore is not None
    taken_back = replace(record, restore=replace(record.restore, abandoned=True))
    return THREE, happened(state, WriteRecord("10.0.0.1", taken_back))


@case
def refused_too_late() -> Case:
    """A restore is to be taken back that has stopped the members."""
    state = _restoring(running(THREE), effects=6 + 3 + 3 + 1)
    record = state.host("10.0.0.1").record.get()
    assert record is not None and record.restore is not None
    taken_back = replace(record, restore=replace(record.restore, abandoned=True))
    return THREE, happened(state, WriteRecord("10.0.0.1", taken_back))


@case
def restored_and_not_everything_restarted() -> Case:
    """The API servers run again after a restore; on two hosts what remembers the old is still to be restarted."""
    state = running(THREE)
    for host in ("10.0.0.3", "10.0.1.1"):
        record = state.host(host).record.get()
        assert record is not None
        pending = replace(record, restart=("kube-scheduler.service", "kubelet.service"))
        state = happened(state, WriteRecord(host, pending))
    return THREE, state


@case
def refused_api_server_of_no_unit_in_a_restore() -> Case:
    """A restore has stopped the API servers, and one that runs in a static pod is found on a member's host."""
    state = _restoring(running(THREE), effects=6 + 3 + 3)
    loopback = {"etcd-servers": "https://127.0.0.1:2379"}
    return THREE, state.with_host(replace(state.host("10.0.0.2"), strays={"static-pod": loopback}))


@case
def refused_data_moves_in_a_restore() -> Case:
    """A restore has begun, and a member's etcd has its data in another directory than the spec wants."""
    state = _restoring(running(THREE), effects=1)
    host = state.host("10.0.0.2")
    settings = {**(host.etcd.settings.get() or {}), "data-dir": "/srv/etcd"}
    return THREE, state.with_host(replace(host, etcd=replace(host.etcd, settings=known(settings))))
