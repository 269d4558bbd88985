"""What no effect of a plan may do, written a second time from `design.md` D4, D5 and the list of invariants.

It shares nothing with `etcdplan.planner.invariants`, nor with the model's own idea of who serves: a voter is alive when
its etcd runs on its data, or, where its host cannot be asked, when it was seen to serve.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from etcdplan.diff.target import ApiServerTarget, MemberTarget, Target
from etcdplan.model import effects as e
from etcdplan.model.state import ETCD, Host, Member, State, host_of
from tests.unit.planner import restore_checker

PACKAGED = 0xCDF818194E3A8C32
"""The cluster of an etcd that is started without a flag, as Debian's package does at its installation."""


def packaged(host: Host) -> bool:
    """Whether a host's data is of a package's own cluster."""
    return host.data.value is not None and host.data.value.cluster_id == PACKAGED


def alive(state: State, member: Member) -> bool:
    """Whether a member's etcd runs on the member's data."""
    host = state.hosts.get(host_of(member.peer_url))
    if host is None or host.unreachable or host.data.is_unknown or host.etcd.process.is_unknown:
        return member.serving
    process, data = host.etcd.process.value, host.data.value
    return process is not None and not process.hung and data is not None and data.member_id == member.id


def members(state: State) -> dict[str, Member]:
    """Return the member list, empty when there is none."""
    return dict(state.membership.value.members) if state.membership.value else {}


def count(state: State) -> tuple[int, int]:
    """Return the voters, and how many of them are alive."""
    voters = [member for member in members(state).values() if not member.learner]
    return len(voters), sum(alive(state, voter) for voter in voters)


def spare(state: State) -> int:
    """Return how many more voters may fail."""
    voters, up = count(state)
    return up - (voters // 2 + 1)


def differs(state: State, member: Member) -> bool:
    """Whether a member is known to hold other data than more than half of the voters do."""
    if state.corruption is None:
        return False
    held = state.corruption.contents
    voters = [voter.peer_url for voter in members(state).values() if not voter.learner]
    for content in set(held.values()):
        if sum(held.get(url) == content for url in voters) * 2 > len(voters):
            return held.get(member.peer_url, content) != content
    return False


def endpoints(settings: object) -> set[str]:
    """Return what an API server's settings name."""
    return set(settings.get("etcd-servers", "").split(",")) - {""} if isinstance(settings, dict) else set()


def live_endpoints(state: State) -> set[str]:
    """Return the client URLs of the voters that are alive while there is a quorum of them."""
    if spare(state) < 0:
        return set()
    voters = (member for member in members(state).values() if not member.learner)
    return {url for voter in voters if alive(state, voter) for url in voter.client_urls}


def running_api_servers(state: State) -> dict[tuple[str, str], set[str]]:
    """Return what each running API server names, by host and name."""
    return {
        (host.address, name): endpoints(dict(unit.process.value.settings))
        for host in state.hosts.values()
        for name, unit in host.api_servers.items()
        if unit.process.value is not None
    }


@dataclass(slots=True)
class Checker:
    """Watches the effects of one or more plans for a target, from the state in which the first began."""

    target: Target
    start: State
    down_etcds: set[str] = field(default_factory=set)
    down_servers: set[tuple[str, str]] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    restored: bool = False

    @property
    def founding(self) -> bool:
        """Whether the plan began before any host had a record of the cluster."""
        return not self.restored and all(host.record.value is None for host in self.start.hosts.values())

    def see(self, effect: e.Effect, before: State, after: State) -> Iterator[str]:
        """Yield what one effect breaks."""
        restore = restore_checker.under_way(self.target, before)
        if restore is not None:
            self.restored = True
            yield from restore_checker.see(self.target, restore, effect, before)
            return
        self._remember(effect, before)
        yield from self._quorum(effect, before, after)
        yield from self._api_servers(effect, before, after)
        match effect:
            case e.AddLearner(peer_url=url):
                yield from self._add(before, url)
            case e.Promote(peer_url=url):
                if url not in members(before) or not alive(before, members(before)[url]):
                    yield f"{url} is promoted before it can have caught up"
            case e.Remove(peer_url=url):
                yield from self._remove(before, after, url)
            case e.Start(host=address, unit=unit) if unit == ETCD:
                yield from self._start(before, before.hosts[address])
            case e.Start(host=address, unit=unit):
                owner = next((s for s in self.target.api_servers.values() if s.unit == unit), None)
                yield from self._credentials(before, before.hosts[address], owner)
            case e.Stop(host=address, unit=unit) if unit == ETCD:
                yield from self._stop(before, address)
            case e.Hold(host=address, unit=unit) if unit == ETCD:
                for member in members(before).values():
                    if host_of(member.peer_url) == address and alive(before, member):
                        yield from self._fence(before, member)
                if self.founding and not packaged(before.hosts[address]):
                    yield f"etcd on {address} is put out of service in a founding"
            case e.ClearCorrupt():
                held = before.corruption.contents if before.corruption else {}
                up = [m for m in members(before).values() if not m.learner and alive(before, m)]
                if len({held.get(member.peer_url, f"{member.name}?") for member in up}) != 1:
                    yield "the CORRUPT alarm is taken back while members that run may differ"
            case e.SetDataAside(host=address):
                yield from self._aside(before, before.hosts[address])
            case e.WriteRecord(record=record):
                listed = before.membership.value
                if listed is None or record.cluster_id != listed.cluster_id or spare(before) < 0:
                    yield "a record is written that no quorum stands behind"
            case _:
                pass

    def _fence(self, before: State, member: Member) -> Iterator[str]:
        if not differs(before, member):
            yield f"the member on {host_of(member.peer_url)} is alive and is put out of service"
        elif before.leader == member.peer_url and count(before)[1] > 1:
            yield f"{member.name} is put out of service while it leads"

    def _remember(self, effect: e.Effect, before: State) -> None:
        match effect:
            case e.Start(host=address, unit=unit) if unit == ETCD:
                self.down_etcds.discard(address)
            case e.Start(host=address, unit=unit):
                self.down_servers.discard((address, unit.removeprefix("apiserver/")))
            case e.Stop(host=address, unit=unit) | e.Hold(host=address, unit=unit) if unit == ETCD:
                here = [m for m in members(before).values() if host_of(m.peer_url) == address]
                if any(alive(before, m) and not differs(before, m) for m in here):
                    self.down_etcds.add(address)
            case e.Stop(host=address, unit=unit):
                self.down_servers.add((address, unit.removeprefix("apiserver/")))
            case e.Remove(peer_url=url):
                self.removed |= set(members(before)[url].client_urls)
                self.down_etcds.discard(host_of(url))
            case _:
                pass

    def _declared(self, effect: e.Effect, before: State) -> bool:
        return isinstance(effect, e.Stop) and self.target.allow_outage and count(before)[0] <= 2

    def _quorum(self, effect: e.Effect, before: State, after: State) -> Iterator[str]:
        if spare(before) >= 0 > spare(after) and not self._declared(effect, before):
            yield f"quorum is taken away ({count(before)} -> {count(after)})"
        if isinstance(effect, e.AddLearner | e.Promote | e.Remove):
            wanted = (len(self.target.members) - 1) // 2
            if spare(after) < min(spare(before), wanted):
                yield f"tolerance falls from {spare(before)} to {spare(after)}"
            if spare(after) < 0:
                yield f"a change of members without a quorum after it {count(after)}"
        if len(self.down_etcds) > 1:
            yield f"etcds on {sorted(self.down_etcds)} are down together because of the plan"

    def _api_servers(self, effect: e.Effect, before: State, after: State) -> Iterator[str]:
        serving = {
            voter.name
            for voter in members(after).values()
            if alive(after, voter) and not differs(after, voter)
        }
        excused = {
            (server.host, server.name)
            for server in self.target.api_servers.values()
            if self.target.connect == "own" and server.member not in serving
        }
        if isinstance(effect, e.Stop) and len(self.down_servers - excused) > 1:
            yield f"API servers {sorted(self.down_servers)} are down together because of the plan"
        balanced = {self.target.load_balancer}
        earlier = running_api_servers(before)
        gone = self.removed - {url for member in members(after).values() for url in member.client_urls}
        for server, named in running_api_servers(after).items():
            fresh = server not in earlier
            if fresh and named & gone:
                yield f"API server {server} is started and names a removed member"
            if named == balanced or named & live_endpoints(after):
                continue
            restarting = isinstance(effect, e.Stop) and (
                self.target.connect == "own" or self._declared(effect, before)
            )
            if fresh or (named & live_endpoints(before) and not restarting):
                yield f"API server {server} is left pointing at nothing"

    def _add(self, before: State, url: str) -> Iterator[str]:
        listed = members(before).values()
        for other in listed:
            if other.learner or not other.name:
                yield f"{url} is added while {other.peer_url} is still on its way"
        voters, up = count(before)
        major, minor, patch = (int(part) for part in self.target.version.split("."))
        lenient = (major, minor, patch) >= {4: (3, 9, 0), 5: (3, 5, 30), 6: (3, 6, 11), 7: (3, 7, 0)}[minor]
        if voters > 1 and up < ((voters + 1) // 2 + 1 if lenient else voters):
            yield f"{url} is added with {up} of {voters} voters connected, which {self.target.version} refuses"

    def _remove(self, before: State, after: State, url: str) -> Iterator[str]:
        member = members(before)[url]
        if self.founding:
            yield f"{url} is removed in a founding"
        others = [voter for voter in members(after).values() if not voter.learner]
        if before.leader == url and any(alive(before, voter) for voter in others):
            yield f"{url} is removed while it leads"
        if url in self.target.members:
            host = before.hosts[host_of(url)]
            data = host.data.value
            if host.unreachable or (
                data is not None and data.member_id == member.id and not host.etcd.failing
            ):
                yield f"{url} has good data, the spec keeps it, and it is removed"
        elif not member.learner and alive(before, member):
            voting = {voter.peer_url for voter in others if alive(before, voter)}
            if set(self.target.members) - voting:
                yield f"{url} is healthy and is removed before its successors vote"
        for server, named in running_api_servers(before).items():
            if named & set(member.client_urls):
                yield f"{url} is removed while API server {server} names it"

    def _start(self, before: State, host: Host) -> Iterator[str]:
        settings, data = dict(host.etcd.settings.value or {}), host.data.value
        listed = before.membership.value
        if data is None and settings.get("initial-cluster-state") == "new":
            if not self.founding or any(one.record.value for one in before.hosts.values()):
                yield f"an empty etcd on {host.address} may found a second cluster"
            elif settings.get("initial-cluster") != self.target.initial_cluster:
                yield f"etcd on {host.address} founds another cluster than the spec's"
        if data is not None:
            ids = {one.record.value.cluster_id for one in before.hosts.values() if one.record.value}
            if data.foreign or (ids and data.cluster_id not in ids):
                yield f"etcd on {host.address} is started on data that is not ours"
            if listed is not None and listed.by_id(data.member_id) is None:
                yield f"etcd on {host.address} is started as a member that is not listed"
        owner = next((m for m in self.target.members.values() if m.host == host.address), None)
        yield from self._credentials(before, host, owner)

    def _credentials(
        self, before: State, host: Host, owner: MemberTarget | ApiServerTarget | None
    ) -> Iterator[str]:
        if owner is None or not self.target.ca:
            return
        for wanted in owner.leafs:
            pair = host.leafs[wanted.name].value if wanted.name in host.leafs else None
            good = (
                pair is not None
                and pair.key_matches
                and pair.issuer == self.target.ca
                and pair.not_before <= before.now < pair.not_after
                and set(wanted.sans) <= set(pair.sans)
            )
            if not good:
                yield f"{owner.name} on {host.address} is started with a bad {wanted.name} certificate"
        if host.trust.value != (self.target.ca,):
            yield f"{owner.name} on {host.address} is started without the CA"

    def _stop(self, before: State, address: str) -> Iterator[str]:
        member = next((m for m in members(before).values() if host_of(m.peer_url) == address), None)
        if member is None or member.learner or not alive(before, member):
            return
        if 0 <= spare(before) < 1 and not (self.target.allow_outage and count(before)[0] <= 2):
            yield f"{member.name} is restarted although no voter may fail"
        if before.leader == member.peer_url and count(before)[1] > 1:
            yield f"{member.name} is restarted while it leads"

    def _aside(self, before: State, host: Host) -> Iterator[str]:
        data = host.data.value
        if host.etcd.process.value is not None:
            yield f"data on {host.address} is set aside under a running etcd"
        if self.founding and not packaged(host):
            yield f"data on {host.address} is set aside in a founding"
        if data is None:
            return
        listed = before.membership.value
        member = listed.by_id(data.member_id) if listed else None
        kept = member is not None and member.peer_url in self.target.members
        fenced = before.corruption is not None and host.etcd.held
        own = member is not None and kept and host_of(member.peer_url) == host.address
        if member is not None and own and not host.etcd.failing and not fenced:
            yield f"the good data of {member.name} is set aside"
