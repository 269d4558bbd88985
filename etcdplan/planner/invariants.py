"""What no effect of a plan may do, whatever the plan wants. Rules on transitions, so that the broken can be mended.

Sources: `design.md` D4 (membership arithmetic), etcd's runtime reconfiguration, Kubernetes' page on operating etcd.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from etcdplan.diff.target import Target
from etcdplan.diff.view import View
from etcdplan.model.effects import (
    AddLearner,
    ClearCorrupt,
    Effect,
    Hold,
    HostEffect,
    Promote,
    Remove,
    SetDataAside,
    Start,
    Stop,
)
from etcdplan.model.endpoints import named
from etcdplan.model.quorum import quorum, tolerance
from etcdplan.model.server_rules import Operation, Peer, verdict
from etcdplan.model.state import ETCD, Member, Membership, State, api_server_unit, host_of
from etcdplan.planner import restore_invariants


@dataclass(frozen=True, slots=True)
class Transition:
    """One effect, with the states before and right after it. `start` is the state in which the plan begins."""

    target: Target
    effect: Effect
    before: State
    after: State
    start: State


def violations(transition: Transition) -> Iterator[str]:
    """Yield what the transition breaks, in plain words; nothing for a good one."""
    if isinstance(transition.effect, ClearCorrupt):
        yield from _all_hold_the_same(transition)
    if View(transition.target, transition.before).restore is not None:
        yield from restore_invariants.violations(transition.target, transition.effect, transition.before)
        return
    yield from _quorum_kept(transition)
    effect = transition.effect
    match effect:
        case AddLearner() | Promote() | Remove():
            yield from _arithmetic(transition, effect)
            yield from _server_accepts(transition, effect)
            if isinstance(effect, Remove):
                yield from _nobody_points_at(transition, effect)
        case Start(unit=unit) if unit == ETCD:
            yield from _may_start(transition, effect)
        case Start():
            yield from _points_at_something(transition, effect)
            if transition.before.corruption is not None:
                yield "an API server would start while etcd refuses all writes"
        case Stop(unit=unit) | Hold(unit=unit) if unit == ETCD:
            yield from _may_stop(transition, effect)
        case Stop() | Hold():
            yield from _one_api_server_down(transition)
        case SetDataAside():
            yield from _data_unused(transition, effect)
        case _:
            pass


def _listed(state: State) -> Membership:
    return state.membership.value or Membership(0, {})


def _quorum_kept(transition: Transition) -> Iterator[str]:
    before, after = (quorum(state.membership.value) for state in (transition.before, transition.after))
    declared = transition.target.allow_outage and before.voters <= 2 and isinstance(transition.effect, Stop)
    if before.holds and not after.holds and not declared:
        yield f"it takes the quorum away ({before.healthy}/{before.voters} -> {after.healthy}/{after.voters})"


def _arithmetic(transition: Transition, effect: AddLearner | Promote | Remove) -> Iterator[str]:
    """D4: the healthy are a quorum of the set after it, and tolerance stays at what it was or at what the spec has."""
    born = transition.target.restore is not None or any(
        host.record.value is not None for host in transition.start.hosts.values()
    )
    if not born and not _listed(transition.start).members and isinstance(effect, Remove):
        yield "it removes a member in a bootstrap"
    before, after = (quorum(state.membership.value) for state in (transition.before, transition.after))
    if not after.holds:
        yield f"{after.healthy} of {after.voters} voters would be healthy, {after.needed} are needed"
    wanted = tolerance(len(transition.target.members))
    if after.tolerates < min(before.tolerates, wanted):
        yield f"the tolerance falls from {before.tolerates} to {after.tolerates}"
    if isinstance(effect, AddLearner):
        others = [m for m in _listed(transition.before).members.values() if m.learner or not m.started]
        if others:
            yield f"{others[0].peer_url} is still on its way into the cluster"


def _server_accepts(transition: Transition, effect: AddLearner | Promote | Remove) -> Iterator[str]:
    members = list(_listed(transition.before).members.values())
    peers = [Peer(started=m.started, learner=m.learner, connected=m.serving) for m in members]
    index = next((i for i, m in enumerate(members) if m.peer_url == effect.peer_url), None)
    operation = {AddLearner: Operation.ADD_LEARNER, Promote: Operation.PROMOTE, Remove: Operation.REMOVE}[
        type(effect)
    ]
    in_sync = index is not None and members[index].serving
    rejection = verdict(transition.target.version, peers, operation, index, learner_in_sync=in_sync)
    if rejection is not None:
        yield f"the server would refuse it: {rejection.value}"


def _nobody_points_at(transition: Transition, effect: Remove) -> Iterator[str]:
    member = _listed(transition.before).members[effect.peer_url]
    for host in transition.before.hosts.values():
        for name, unit in host.api_servers.items():
            process = unit.process.value
            if process is not None and named(process.settings) & set(member.client_urls):
                yield f"API server {name} runs and names {member.name}"
        for name, settings in host.strays.items():
            if named(settings) & set(member.client_urls):
                yield f"API server {name} runs and names {member.name}"


def _points_at_something(transition: Transition, effect: HostEffect) -> Iterator[str]:
    unit = transition.after.host(effect.host).unit(getattr(effect, "unit", ""))
    process = unit.process.value
    balanced = transition.target.load_balancer
    serving = {
        url for member in _listed(transition.after).voters() if member.serving for url in member.client_urls
    }
    endpoints = set(process.settings.get("etcd-servers", "").split(",")) if process else set()
    if not endpoints & serving and endpoints != {balanced}:
        yield "an API server would start with no endpoint that serves"


def _runs_as(state: State, host: str) -> Member | None:
    """Return the listed member that serves on the host."""
    members = _listed(state).members.values()
    return next((member for member in members if member.serving and host_of(member.peer_url) == host), None)


def _may_start(transition: Transition, effect: HostEffect) -> Iterator[str]:
    before, host = transition.before, transition.before.host(effect.host)
    settings = host.etcd.settings.value or {}
    if host.data.get() is None and settings.get("initial-cluster-state") == "new":
        elsewhere = before.membership.value is not None and (
            before.membership.value.cluster_id != transition.target.founding_id
        )
        if View(transition.target, before).born or elsewhere:
            yield "an empty etcd would found a second cluster"
        if settings.get("initial-cluster") != transition.target.initial_cluster:
            yield "an empty etcd would found another cluster than the spec's"
    wanted = next((m for m in transition.target.members.values() if m.host == effect.host), None)
    if wanted is not None and transition.target.ca:
        if host.trust.value is None:
            yield "etcd would start without the CA certificate"
        for step in View(transition.target, before).certificates(wanted):
            if step.effects(before):
                yield f"etcd would start with a bad {step.leaf} certificate"


def _may_stop(transition: Transition, effect: HostEffect) -> Iterator[str]:
    member = _runs_as(transition.before, effect.host)
    if member is None or member.learner:
        return
    if isinstance(effect, Hold) and member not in View(transition.target, transition.before).corrupt:
        yield f"it takes {member.name} out of service, which serves"
    stand = quorum(transition.before.membership.value)
    declared = transition.target.allow_outage and stand.voters <= 2
    if stand.tolerates < 1 and not declared:
        yield f"it restarts {member.name} although no voter may fail"


def _one_api_server_down(transition: Transition) -> Iterator[str]:
    if transition.target.connect == "own":
        return
    down = [
        name
        for host in transition.after.hosts.values()
        for name, unit in host.api_servers.items()
        if unit.process.value is None
        and transition.start.host(host.address).unit(api_server_unit(name)).process.value is not None
    ]
    if len(down) > 1:
        yield f"API servers {', '.join(sorted(down))} would be down together"


def _data_unused(transition: Transition, effect: HostEffect) -> Iterator[str]:
    data = transition.before.host(effect.host).data.get()
    member = _listed(transition.before).by_id(data.member_id) if data else None
    if member is not None and member.serving:
        yield f"it sets aside the data of {member.name}, which serves"
    view = View(transition.target, transition.start)
    if (
        not view.born
        and transition.target.restore is None
        and not view.only_started_itself(transition.before.host(effect.host))
    ):
        yield "it sets data aside in a bootstrap"


def _all_hold_the_same(transition: Transition) -> Iterator[str]:
    """With the alarm gone, etcd takes writes again, and nobody compares."""
    view = View(transition.target, transition.before)
    contents = transition.before.corruption.contents if transition.before.corruption else {}
    for voter in _listed(transition.before).voters():
        if voter.serving and (view.right is None or contents.get(voter.peer_url) != view.right):
            yield f"{voter.name} serves, and is not known to hold what the majority holds"
