"""Plans while a CORRUPT alarm stands."""

from dataclasses import replace

from etcdplan.model.corruption import Corruption
from etcdplan.model.state import State, host_of
from etcdplan.planner.unroll import unroll
from tests.plans.backed import HOUR, backed, store, with_stores
from tests.plans.clusters import api_server_down, down, running, target_of
from tests.plans.registry import FIVE, STACKED, THREE, Case, case
from tests.plans.restoring import _request as request


def alarmed(state: State, **held: str) -> State:
    """Return the state with an alarm. `held` is what members hold, by name, empty when they do not say it.

    The others hold the same.
    """
    membership = state.membership.get()
    assert membership is not None
    said = {
        url: held.get(member.name, "a1b2c3d4 at 1234, compacted at 1000")
        for url, member in membership.members.items()
        if member.serving
    }
    differs = [member.id for member in membership.members.values() if member.name in held]
    return replace(
        state,
        corruption=Corruption(
            tuple(differs) or (0,), {url: content for url, content in said.items() if content}
        ),
    )


def lead(state: State, address: str) -> State:
    """Return the state with the member on a host as the leader."""
    membership = state.membership.get()
    assert membership is not None
    return replace(state, leader=next(url for url in membership.members if host_of(url) == address))


@case
def replace_corrupt() -> Case:
    """One of three holds other data than the two others, and leads; there is a backup that is young enough."""
    spec = backed(STACKED)
    state = running(spec)
    return spec, alarmed(lead(with_stores(state, store(state, HOUR)), "10.0.0.2"), member2="ffff0000 at 1234")


@case
def corrupt_alarm_is_left() -> Case:
    """All hold the same: the corrupt one was replaced, and the alarm still stands."""
    return THREE, alarmed(running(THREE))


@case
def corrupt_and_an_api_server_is_down() -> Case:
    """One of three holds other data, and an API server is down: etcd refuses its writes while the alarm stands."""
    state = api_server_down(running(STACKED), "10.0.0.3", "cp3")
    return STACKED, alarmed(state, member1="ffff0000 at 1234")


@case
def refused_corrupt_unknown() -> Case:
    """Two of five are corrupt, one is down: nobody knows which two hold what is right."""
    state = down(running(FIVE), "10.0.0.5")
    other = "ffff0000 at 1234"
    return FIVE, alarmed(state, member1=other, member2=other)


@case
def refused_corrupt_not_asked() -> Case:
    """Two of three hold the same, and the third does not say what it holds."""
    return THREE, alarmed(running(THREE), member3="")


@case
def restored_with_an_alarm() -> Case:
    """The restored members were compared, and have a CORRUPT alarm that came with the snapshot."""
    plan = unroll(replace(target_of(THREE), restore=request()), running(THREE))
    return THREE, alarmed(next(one.after for one in plan.steps if one.step.kind == "verify-restore"))
