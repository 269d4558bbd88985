"""A plan is the policy unrolled on the model, until nothing is left to do, and proven before anybody sees it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from etcdplan.diff.changes import Change, diff
from etcdplan.diff.target import Target
from etcdplan.diff.view import View
from etcdplan.model.effects import ImpossibleEffect
from etcdplan.model.endpoints import named
from etcdplan.model.quorum import Quorum, quorum
from etcdplan.model.settle import settle
from etcdplan.model.state import Host, Membership, Settings, State, host_of
from etcdplan.planner.policy import REPAIRS, Rule, propose
from etcdplan.planner.proof import unproven
from etcdplan.planner.refusal import Refusal
from etcdplan.steps.base import Step
from etcdplan.steps.run_etcd import RunEtcd

STEP_LIMIT = 400


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step in its place: the rule that proposed it, and the predicted states around it.

    `group` counts runs of steps of one rule and kind; within a group the order may change with the leader.
    """

    step: Step
    rule: Rule
    group: int
    before: State
    after: State

    @property
    def heading(self) -> str:
        """Return the rule's docstring, without its full stop."""
        return (self.rule.__doc__ or "").split("\n", 1)[0].rstrip(".")

    @property
    def repair(self) -> bool:
        """Whether the step may join a run that did not plan it."""
        return self.rule in REPAIRS

    @property
    def quorum(self) -> tuple[Quorum, Quorum]:
        """Return how the cluster stands before and after the step."""
        return _stand(self.before), _stand(self.after)

    @property
    def tolerates_during(self) -> int:
        """Return how many more voters may fail at the worst moment of the step, its end included."""
        passed = (*self.step.stages(self.before), self.after)
        return min(_stand(state).tolerates for state in passed)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, or why nothing is. `steps` may be carried out only when `refusals` is empty.

    `state` is what was `observed` after time has healed what it heals; the plan begins there.
    """

    target: Target
    observed: State
    state: State
    changes: tuple[Change, ...]
    steps: tuple[PlannedStep, ...]
    refusals: tuple[Refusal, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a reader should know besides: where something could not be reached and is gone on without."""
        view, membership = View(self.target, self.state), self.state.membership.value
        notes = [
            f"The etcd of the member at {url}, which the spec does not name, cannot be stopped: "
            "its host does not answer."
            for url in (membership.members if membership else ())
            if url not in self.target.members and self._silent(host_of(url))
        ]
        notes += [
            f"API server {server.name} counts as not running: its host {server.host} does not answer."
            for server in self.target.api_servers.values()
            if view.absent_api_host(server.host)
        ]
        notes += [
            f"{address}, which the spec does not name any more for an API server, does not answer: with the next "
            "steps that are applied it counts as gone."
            for address in sorted(view.former_server_hosts)
            if self._silent(address)
        ]
        notes += [
            f"On {host.address} a change of {name} was rolled back: {unit.rolled_back}"
            for host in self.observed.hosts.values()
            for name, unit in (
                ("etcd", host.etcd),
                *((f"API server {n}", u) for n, u in host.api_servers.items()),
            )
            if unit.rolled_back
        ]
        notes += [
            f"etcd of {step.name} on {step.host} ended again and again; its log says why. It is tried once more."
            for step, before in ((planned.step, planned.before) for planned in self.steps)
            if isinstance(step, RunEtcd) and _gave_up(before.host(step.host))
        ]
        if self.steps and not self.refusals and not view.state.membership.value and not view.state.last_seen:
            notes.append(
                f"No host of the spec remembers a cluster {self.target.cluster}: a new, empty one is founded. "
                "If it lives on other hosts, keep one of these in the spec until it has moved."
            )
        notes += [
            f"API server {name} on {host.address} uses this cluster and is not in the spec: its flags are left alone."
            for host in self.state.hosts.values()
            for name, settings in (
                *((n, u.process.value.settings) for n, u in host.api_servers.items() if u.process.value),
                *host.strays.items(),
            )
            if name not in self.target.api_servers and _uses(settings, view)
        ]
        return tuple(notes)

    def _silent(self, address: str) -> bool:
        host = self.state.hosts.get(address)
        return host is not None and bool(host.unreachable)


def unroll(target: Target, state: State) -> Plan:
    """Plan the way from a state to a target, and prove it. Pure; never raises for anything that a state may hold."""
    start = settle(_ordered(state))
    changes = (*diff(target, start), *_coming_up(state, start))
    steps: list[PlannedStep] = []
    refusal: Refusal | None = None
    now, seen = start, [start]
    while True:
        rule, proposal = propose(target, now)
        if rule is None or isinstance(proposal, Refusal) or proposal is None:
            refusal = proposal if isinstance(proposal, Refusal) else None
            break
        try:
            after = proposal.after(now)
        except ImpossibleEffect as error:
            refusal = _broken(proposal.subject, f"step {proposal.id} cannot be done: {error}")
            break
        group = _group(steps, rule, proposal)
        steps.append(PlannedStep(proposal, rule, group, now, after))
        if (after in seen and not proposal.renewable) or len(steps) > STEP_LIMIT:
            refusal = _broken(proposal.subject, f"step {proposal.id} leads nowhere")
            break
        now = after
        seen.append(now)
    if refusal is None:
        refusal = _nothing_left(target, now) or _proven(target, start, steps)
    return Plan(target, state, start, changes, tuple(steps), (refusal,) if refusal else ())


def _ordered(state: State) -> State:
    """Return the state with its dictionaries in one order, so that equal states give equal plans to the byte."""
    hosts = {
        address: replace(
            host, api_servers=dict(sorted(host.api_servers.items())), leafs=dict(sorted(host.leafs.items()))
        )
        for address, host in sorted(state.hosts.items())
    }
    membership = state.membership
    if membership.value is not None:
        membership = replace(membership, value=_sorted(membership.value))
    last_seen = state.last_seen and _sorted(state.last_seen)
    return replace(state, hosts=hosts, membership=membership, last_seen=last_seen)


def _sorted(membership: Membership) -> Membership:
    return replace(membership, members=dict(sorted(membership.members.items())))


def _coming_up(observed: State, settled: State) -> Iterator[Change]:
    """Yield the members that are expected to come up by themselves: nothing is done about it, and it is not hidden."""
    now, later = observed.membership.value, settled.membership.value
    for url, member in (later.members if later else {}).items():
        seen = now.members.get(url) if now else None
        if member.serving and (seen is None or not seen.serving):
            why = "its etcd runs and does not serve yet"
            yield Change(f"member/{member.name}", "start", "not serving", "serving", why)


def _uses(settings: Settings, view: View) -> bool:
    listed = view.state.membership.value
    urls = {url for member in (listed.members.values() if listed else ()) for url in member.client_urls}
    return bool(urls & named(settings))


def _gave_up(host: Host) -> bool:
    return host.etcd.failing and not host.etcd.held


def _stand(state: State) -> Quorum:
    """Count the voters that are listed, or remembered while nobody can be asked."""
    return quorum(state.membership.value or state.last_seen)


def _group(steps: list[PlannedStep], rule: Rule, step: Step) -> int:
    """Count on when rule or kind change; what needs no approval does not count, so that all is the same without it."""
    counted = [planned for planned in steps if not planned.step.unasked]
    if not counted:
        return int(not step.unasked)
    if step.unasked:
        return counted[-1].group
    last = counted[-1]
    return last.group + (last.rule is not rule or last.step.kind != step.kind)


def _nothing_left(target: Target, state: State) -> Refusal | None:
    """The last rule: what differs and has no rule is refused, so that nothing is ever passed over."""
    rest = diff(target, state)
    if not rest:
        return None
    what = "; ".join(f"{change.address} ({change.reason})" for change in rest[:3])
    return Refusal(
        "no-way", rest[0].address, f"No way is known from here to the spec: {what}.", "Please report this."
    )


def _proven(target: Target, start: State, steps: list[PlannedStep]) -> Refusal | None:
    for planned in steps:
        for problem in unproven(target, planned.step, planned.before, planned.after, start):
            return replace(
                _broken(planned.step.subject, f"step {planned.step.id}: {problem}"), code="unproven"
            )
    return None


def _broken(subject: str, message: str) -> Refusal:
    return Refusal(
        "unproven",
        subject,
        f"The plan could not be proven safe and is not carried out: {message}.",
        "Please report this with the output of 'etcdplan observe -o live.json'.",
    )
