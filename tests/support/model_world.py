"""The truth about a cluster as a State in which everything is known, and what looking at it gives.

Tests break the truth and let the policy work on it the way `apply` does: look, propose, do, look again. What looking
gives follows `etcdplan.observe`: silence is not absence where a host remembers a cluster or does not answer.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from etcdplan.diff.target import Target
from etcdplan.model.corruption import Corruption
from etcdplan.model.effects import Effect, ImpossibleEffect, WriteRecord
from etcdplan.model.facts import ABSENT, known, unknown
from etcdplan.model.identity import bootstrap_ids, initial_cluster
from etcdplan.model.settle import settle
from etcdplan.model.state import ETCD, Host, Member, Membership, Record, State, Unit, api_server_unit, host_of
from etcdplan.planner.policy import propose
from etcdplan.steps.base import Step

NOW = 1_800_000_000
"""The time at which every story begins."""


@dataclass(slots=True)
class World:
    """A truth, and the order in which its hosts' records were written."""

    state: State
    written: dict[str, int] = field(default_factory=dict)

    def do(self, effect: Effect) -> None:
        """Let one effect happen; raise `ImpossibleEffect` when it cannot."""
        before = self.state
        self.state = effect.apply(before)
        for address, host in self.state.hosts.items():
            record = host.record.value
            if record is not None and record is not before.hosts[address].record.value:
                self.written[address] = max(self.written.values(), default=0) + 1

    def settle(self) -> None:
        """Let time do its part. A cluster of which no data is left is none any more."""
        self.state = settle(self.state)
        membership = self.state.membership.value
        data = [host.data.value for host in self.state.hosts.values()]
        if membership and not any(one and one.cluster_id == membership.cluster_id for one in data):
            self.state = replace(self.state, membership=ABSENT, leader=None)

    def change(self, address: str, **parts: object) -> None:
        """Replace parts of a host; what can no longer be is gone, what heals by itself is healed."""
        self.state = self.state.with_host(replace(self.state.hosts[address], **parts))  # type: ignore[arg-type]
        self.settle()

    def remember(self, target: Target) -> None:
        """Bring the records up to date, as `apply` does after each change of the members."""
        membership = self.state.membership.value
        if membership is None:
            return
        places = [*target.member_hosts, *target.backup_hosts, *(host_of(url) for url in membership.members)]
        for host in self.state.hosts.values():
            places += host.record.value.hosts if host.record.value else ()
        for address in target.hosts():
            record = self.state.hosts[address].record.value
            if record is not None:
                ours = membership.cluster_id == record.cluster_id
                members = membership.members if ours else record.members
                now = replace(record, hosts=tuple(dict.fromkeys(places)), members=members)
                self.do(WriteRecord(address, now))

    def machine(self, address: str) -> Host:
        """Return a host; one that nobody named yet is an empty machine."""
        if address not in self.state.hosts:
            self.state = self.state.with_host(Host(address))
        return self.state.hosts[address]

    def prepare(self, target: Target) -> None:
        """Have a machine for every host that a spec names; API servers that are to be are installed and idle."""
        for address in target.hosts():
            self.machine(address)
        forgotten = not any(host.record.value for host in self.state.hosts.values())
        if self.state.membership.is_unknown and forgotten:
            self.state = replace(
                self.state, membership=ABSENT
            )  # The last one that knew of a restore is gone.
        for server in target.api_servers.values():
            host = self.state.hosts[server.host]
            if server.name not in host.api_servers:
                self.state = self.state.with_host(host.with_unit(server.unit, Unit(settings=known({}))))

    def look(
        self, target: Target, *, silent: Mapping[str, str] | None = None, serve_on: bool = False
    ) -> State:
        """Return what looking for a spec gives. `silent` hosts do not answer, for the reason that is given.

        With `serve_on`, members on silent hosts are known to serve all the same.
        """
        silent = silent or {}
        asked = {
            address: host
            for address in self._named(target, silent)
            if (host := self.state.hosts.get(address)) is not None
        }
        shown = {
            address: _gone(address, silent[address]) if address in silent else host
            for address, host in asked.items()
        }
        last = max(
            (a for a, host in shown.items() if host.record.value),
            key=lambda a: self.written.get(a, 0),
            default="",
        )
        record = shown[last].record.value if last else None
        remembered = any(host.record.value is not None or host.record.is_unknown for host in shown.values())
        answering = [host for host in shown.values() if _answers(host)]
        clusters = tuple(sorted({host.data.value.cluster_id for host in answering if host.data.value}))
        fact = self.state.membership
        truth = fact.value if fact.value or fact.is_unknown else _unfounded(answering)
        listed = truth is not None and any(
            host.data.value and truth.by_id(host.data.value.member_id) for host in answering
        )
        if len(clusters) > 1:
            membership = unknown("members", "more than one cluster answers")
        elif truth is not None and listed:
            members = {
                url: replace(member, serving=member.serving and (serve_on or host_of(url) not in silent))
                for url, member in truth.members.items()
            }
            membership = known(replace(truth, members=members))
        elif remembered or answering:
            membership = unknown("members", "no etcd that could list the members answers")
        else:
            membership = ABSENT
        return State(
            shown,
            membership,
            _remembered(record) if record and record.members else None,
            clusters,
            self.state.leader if listed and len(clusters) < 2 else None,
            self.state.now,
            self.state.backups,
            self._corruption(membership.value),
        )

    def _corruption(self, seen: Membership | None) -> Corruption | None:
        """Return what those say who serve as far as can be seen."""
        if seen is None or self.state.corruption is None:
            return None
        return self.state.corruption.of([url for url, member in seen.members.items() if member.serving])

    def _named(self, target: Target, silent: Mapping[str, str]) -> Iterable[str]:
        """Name the hosts of the spec, of the member list and, again and again, of the hosts' records."""
        named = dict.fromkeys(target.hosts())
        if self.state.membership.value:
            named |= dict.fromkeys(host_of(url) for url in self.state.membership.value.members)
        known_hosts: Collection[str] = ()
        while len(known_hosts) < len(named):
            known_hosts = tuple(named)
            for address in known_hosts:
                host = self.state.hosts.get(address)
                if host is not None and host.record.value is not None and address not in silent:
                    named |= dict.fromkeys(
                        (*host.record.value.hosts, *map(host_of, host.record.value.members))
                    )
        return named


def follow(world: World, target: Target, *, effects: int = 10_000) -> Step | None:
    """Carry the policy out on the truth, looking again before each step; stop after so many effects.

    Returns the step that was cut, None when the policy proposed nothing more or the effects were used up between two.
    """
    world.prepare(target)
    world.settle()
    world.remember(target)
    for _ in range(200):
        if effects <= 0:
            return None
        seen = settle(world.look(target))
        _, proposal = propose(target, seen)
        if not isinstance(proposal, Step):
            return None
        for effect in proposal.effects(seen):
            if effects <= 0:
                return proposal
            try:
                world.do(effect)
            except ImpossibleEffect:
                if _cluster_id(world.state) != _cluster_id(seen):
                    return None  # The truth knows the members of one cluster, and this is another one.
                raise
            effects -= 1
        world.settle()
        if proposal.kind.endswith("-member"):
            world.remember(target)
    raise AssertionError("the policy does not come to an end")


def _remembered(record: Record) -> Membership:
    silent = {url: replace(member, serving=False) for url, member in record.members.items()}
    return Membership(record.cluster_id, silent)


def _cluster_id(state: State) -> int | None:
    return state.membership.value.cluster_id if state.membership.value else None


def _gone(address: str, why: str) -> Host:
    gone = unknown(f"host/{address}", why)
    return Host(address, Unit(gone, gone), gone, {}, gone, gone, {}, gone, unreachable=why)


def _answers(host: Host) -> bool:
    process = host.etcd.process.value
    return process is not None and not process.hung and not host.unreachable and host.data.value is not None


def _unfounded(answering: Iterable[Host]) -> Membership | None:
    """Return the list that founding members have before there is a quorum of them."""
    for host in answering:
        process = host.etcd.process.value
        if process is not None and process.settings.get("initial-cluster-state") == "new":
            cluster, ids = bootstrap_ids(process.settings)
            names = initial_cluster(process.settings)
            return Membership(
                cluster,
                {u: Member(ids[u], n, u, (), learner=False, serving=False) for u, n in names.items()},
            )
    return None


__all__ = ["ETCD", "NOW", "World", "api_server_unit", "follow"]
