"""The questions that rules ask about a target and a state, answered once."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from etcdplan.diff.target import ApiServerTarget, MemberTarget, Owner, Target
from etcdplan.model.endpoints import KEPT, SERVERS
from etcdplan.model.identity import DEFAULT_CLUSTER
from etcdplan.model.quorum import Quorum, quorum
from etcdplan.model.restore import Restore
from etcdplan.model.state import Host, Member, Membership, Settings, State, host_of, steady
from etcdplan.steps.api_server import RunApiServer
from etcdplan.steps.credentials import IssueCertificate
from etcdplan.steps.run_etcd import RunEtcd


class View:
    """A target and a settled state, seen together. Reading may raise `UnknownFact`."""

    def __init__(self, target: Target, state: State) -> None:
        self.target = target
        self.state = state

    @cached_property
    def membership(self) -> Membership | None:
        """Return the member list; None before there is a cluster."""
        return self.state.membership.get()

    @cached_property
    def listed(self) -> Membership | None:
        """Return the member list, or the last one that a host remembers while nobody answers."""
        return self.state.last_seen if self.state.membership.is_unknown else self.membership

    @cached_property
    def quorum(self) -> Quorum:
        """Return how the cluster stands."""
        return quorum(self.membership)

    @cached_property
    def born(self) -> bool:
        """Whether any host that answers remembers the cluster: then its bootstrap is over."""
        hosts = self.state.hosts.values()
        return any(host.record.value is not None for host in hosts) or any(
            host.record.get() is not None for host in hosts if not host.unreachable
        )

    @cached_property
    def restore(self) -> Restore | None:
        """Return the restore that is under way on the spec's hosts, or else that was asked for and is not done."""
        hosts = (self.state.hosts.get(address) for address in self.target.hosts())
        records = [host.record.value for host in hosts if host and host.record.value]
        begun = [record.restore for record in records if record.restore]
        asked = self.target.restore
        if begun:
            # That it was verified is noted on one host, and by the end of the restore on those that have it.
            ended = any(record.cluster_id == begun[0].ids[0] for record in records)
            named = [*begun, *((asked,) if asked is not None and asked.same(begun[0]) else ())]
            return replace(
                begun[0],
                verified=ended or any(restore.verified for restore in begun),
                gone=tuple(sorted({host for restore in named for host in restore.gone})),
                # Who asks for it again has thought better of it.
                abandoned=self.target.abandon
                or (asked is None and any(restore.abandoned for restore in begun)),
            )
        done = asked is not None and any(record.cluster_id == asked.ids[0] for record in records)
        return None if done else asked

    @property
    def restoring(self) -> Restore:
        """Return the restore, for those who are asked only when there is one."""
        if self.restore is None:
            raise LookupError("nothing is being restored")
        return self.restore

    @cached_property
    def former(self) -> frozenset[int]:
        """Return the IDs of the clusters that this one was restored in the place of."""
        records = (host.record.value for host in self.state.hosts.values())
        return frozenset(former for record in records if record for former in record.former)

    @cached_property
    def cluster_id(self) -> int:
        """Return the ID that this cluster has: as remembered, as answered, or as its bootstrap will give it."""
        for host in self.state.hosts.values():
            record = host.record.value
            if record is not None and record.cluster_id not in self.former:
                return record.cluster_id
        membership = self.state.membership.value
        return membership.cluster_id if membership else self.target.founding_id

    @cached_property
    def former_hosts(self) -> frozenset[str]:
        """Return the hosts of all members that are listed or remembered."""
        lists = (self.state.membership.value, self.state.last_seen)
        records = (host.record.value for host in self.state.hosts.values())
        return frozenset(host_of(url) for members in lists if members for url in members.members) | frozenset(
            host for record in records if record for host in (*record.hosts, *record.gone)
        )

    @cached_property
    def former_server_hosts(self) -> frozenset[str]:
        """Return the hosts outside the spec that are remembered for an API server."""
        records = (host.record.value for host in self.state.hosts.values())
        hosts = frozenset(host for record in records if record for host in record.servers)
        return hosts - set(self.target.hosts())

    def only_started_itself(self, host: Host) -> bool:
        """Whether a host's data is of the cluster that a package founded at its installation, and nobody's of use.

        Its etcd serves that machine alone; an API server there that talks to such an etcd may have its objects in it.
        """
        data = host.data.get()
        if data is None or data.cluster_id != DEFAULT_CLUSTER or self.cluster_id == DEFAULT_CLUSTER:
            return False
        servers = (unit.settings.get() or {} for unit in host.api_servers.values())
        return not any(
            re.search(r"//(localhost|127\.|\[::1)", one.get("etcd-servers", "")) for one in servers
        )

    def absent_api_host(self, host: str) -> bool:
        """Whether an API server's host went with a member that the spec gave up, or was said to be gone, and is silent.

        Such an API server counts as not running; when it returns, it is re-pointed before anything else. A silent host
        that only takes backups is gone without, too: the cluster does not need it, and another one takes over.
        """
        if not self.state.host(host).unreachable or host in self.target.member_hosts:
            return False
        if self.restore is not None:
            return host in self.restore.gone
        return host in self.former_hosts or self.target.only_takes_backups(host)

    @cached_property
    def api_servers(self) -> tuple[ApiServerTarget, ...]:
        """Return the API servers whose host can be worked on."""
        servers = self.target.api_servers.values()
        return tuple(server for server in servers if not self.absent_api_host(server.host))

    def member_host(self, member: Member) -> Host:
        """Return the host of a listed member."""
        return self.state.host(host_of(member.peer_url))

    @cached_property
    def right(self) -> str | None:
        """Return what the majority of the voters holds while a CORRUPT alarm stands; None when that is not known."""
        membership, corruption = self.state.membership.value, self.state.corruption
        if membership is None or corruption is None:
            return None
        return corruption.right([voter.peer_url for voter in membership.voters()])

    @cached_property
    def corrupt(self) -> tuple[Member, ...]:
        """Return the voters that hold other data than the majority, while a CORRUPT alarm stands.

        One that is kept from starting then was taken out of service for that, and its data is not set aside yet.
        """
        membership, corruption = self.state.membership.value, self.state.corruption
        if membership is None or corruption is None or self.right is None:
            return ()
        found = []
        for url, member in sorted(membership.members.items()):
            host = self.state.hosts.get(host_of(url))
            stopped = (
                host is not None
                and host.etcd.held
                and host.etcd.process.value is None
                and host.data.value is not None
                and host.data.value.member_id == member.id
            )
            if corruption.contents.get(url, self.right) != self.right or (stopped and not member.serving):
                found.append(member)
        return tuple(found)

    @cached_property
    def lost(self) -> dict[str, str]:
        """Return the members that can only be replaced, by peer URL, each with the reason.

        A member whose host does not answer is lost only when the spec no longer names it.
        """
        found: dict[str, str] = {}
        for url, member in (self.membership.members if self.membership else {}).items():
            if member.serving or not member.started:
                continue
            reason = self._lost(member)
            if reason is not None:
                found[url] = reason
        return found

    def _lost(self, member: Member) -> str | None:
        wanted = self.target.members.get(member.peer_url)
        if wanted is None:
            return "it does not serve and the spec no longer names it"
        host = self.state.host(wanted.host)
        data = host.data.get()
        if data is None:
            return "its data is gone"
        if data.foreign:
            return f"its data directory holds something else: {data.foreign}"
        if data.cluster_id != self.cluster_id:
            return f"its data belongs to another cluster ({data.cluster_id:x})"
        if data.member_id != member.id:
            return "its data belongs to an earlier member"
        if host.etcd.failing and not host.full and self.runs_as_wanted(wanted) and self.quorum.holds:
            return "it ends again and again on its own data" if self.settings_work(wanted) else None
        return None

    def settings_work(self, failing: MemberTarget) -> bool:
        """Whether a member serves with these settings: then they are not why this one fails.

        Its name and its own host in them may be others: no etcd ends because of these.
        """
        for member in self.listed.members.values() if self.listed else ():
            process = self.member_host(member).etcd.process.value
            if member.serving and process is not None:
                host = host_of(member.peer_url)
                own = {flag: value.replace(host, failing.host) for flag, value in process.settings.items()}
                if steady({**own, "name": failing.name}) == failing.settings:
                    return True
        return False

    def runs_as_wanted(self, wanted: MemberTarget) -> bool:
        """Whether the settings on disk are the spec's and the certificates are in order."""
        on_disk = self.state.host(wanted.host).etcd.settings.get()
        return (
            on_disk is not None
            and steady(on_disk) == wanted.settings
            and not any(step.wrong(self.state) for step in self.certificates(wanted))
        )

    @cached_property
    def leaving(self) -> tuple[Member, ...]:
        """Return the serving members that the spec does not name, in a fixed order."""
        members = self.membership.members.values() if self.membership else ()
        gone = (member for member in members if member.serving and member.peer_url not in self.target.members)
        return tuple(sorted(gone, key=lambda member: (not member.learner, member.peer_url)))

    @cached_property
    def missing(self) -> tuple[MemberTarget, ...]:
        """Return the members of the spec that are not listed."""
        listed = self.membership.members if self.membership else {}
        return tuple(member for url, member in self.target.members.items() if url not in listed)

    @cached_property
    def joining(self) -> tuple[MemberTarget, ...]:
        """Return the members of the spec that are listed and not yet voters that ran."""
        listed = self.membership.members if self.membership else {}
        return tuple(
            wanted
            for url, wanted in self.target.members.items()
            if url in listed and (listed[url].learner or not listed[url].started)
        )

    @cached_property
    def complete(self) -> bool:
        """Whether the voters are exactly the members of the spec."""
        return not (self.missing or self.joining or self.leaving or self.lost)

    def certificates(self, owner: Owner) -> Iterator[IssueCertificate]:
        """Yield the steps that would give an owner its certificates."""
        for leaf in owner.leafs:
            yield IssueCertificate(
                owner=owner.name,
                host=owner.host,
                leaf=leaf.name,
                common_name=leaf.common_name,
                issuer=self.target.ca,
                sans=leaf.sans,
                usages=leaf.usages,
                lifetime=self.target.leaf_lifetime,
                renew_before=self.target.renew_before,
            )

    def etcd(self, wanted: MemberTarget) -> RunEtcd:
        """Return the step that makes a member run, with what an empty one needs to found or join the cluster."""
        if not self.born:
            everyone, cluster_state = self.target.initial_cluster, "new"
        else:
            everyone, cluster_state = self._initial_cluster(wanted), "existing"
        initial = {
            "initial-advertise-peer-urls": wanted.peer_url,
            "initial-cluster": everyone,
            "initial-cluster-token": self.target.token,
            "initial-cluster-state": cluster_state,
        }
        return RunEtcd(wanted.name, wanted.host, wanted.peer_url, {**wanted.settings, **initial})

    def _initial_cluster(self, wanted: MemberTarget) -> str:
        """Name everyone who is listed. Names of others are not compared, they only must differ from the newcomer's.

        Source: etcd `membership/cluster.go`, ValidateClusterAndAssignIDs.
        """
        listed = self.listed.members if self.listed else {}
        names = {url: f"m{member.id:x}" for url, member in listed.items()}
        names |= {url: member.name for url, member in self.target.members.items() if url in names}
        names[wanted.peer_url] = wanted.name
        return ",".join(f"{names[url]}={url}" for url in sorted(names))

    @cached_property
    def going(self) -> frozenset[str]:
        """Return the peer URLs of the members that API servers must not name when the next removal comes.

        The leaving ones matter only when nobody is still to come, be it for the second time.
        """
        to_come = self.missing or self.joining or self.lost.keys() & self.target.members.keys()
        leaving = (member.peer_url for member in self.leaving if member.learner or not to_come)
        return frozenset(self.lost) | {member.peer_url for member in self.corrupt} | frozenset(leaving)

    def api_settings(self, server: ApiServerTarget) -> Settings | None:
        """Return the flags that an API server must have now, None when it must not run for want of its member."""
        endpoints = self._endpoints(server)
        return None if endpoints is None else {**self.flags(server), SERVERS: ",".join(endpoints)}

    def flags(self, server: ApiServerTarget) -> Settings:
        """Return all other flags about etcd that an API server must have."""
        settings = self.state.host(server.host).unit(server.unit).settings.get() or {}
        return {**{flag: settings[flag] for flag in KEPT if flag in settings}, **server.settings}

    def _endpoints(self, server: ApiServerTarget) -> tuple[str, ...] | None:
        if self.target.load_balancer is not None:
            return (self.target.load_balancer,)
        if self.target.connect == "own":
            own = next(member for member in self.target.members.values() if member.name == server.member)
            return (
                (own.client_url,) if any(own.peer_url == voter.peer_url for voter in self._staying) else None
            )
        return self._everyones or None

    @cached_property
    def _staying(self) -> tuple[Member, ...]:
        """Return the voters that API servers may name now."""
        voters = (
            tuple(voter for voter in self.membership.voters() if voter.serving) if self.membership else ()
        )
        # While those that stay are still to be started, better one that leaves than none.
        return tuple(voter for voter in voters if voter.peer_url not in self.going) or voters

    @cached_property
    def _everyones(self) -> tuple[str, ...]:
        """Return the client URLs of the voters that API servers may name now, the spec's in its order."""
        staying = {voter.peer_url: voter for voter in self._staying}
        wanted = (member.client_url for url, member in self.target.members.items() if url in staying)
        others = (voter for url, voter in staying.items() if url not in self.target.members)
        return (*wanted, *sorted(url for voter in others for url in voter.client_urls))

    def final_endpoints(self, server: ApiServerTarget) -> tuple[str, ...]:
        """Return the endpoints that an API server has when nothing is left to do."""
        if self.target.load_balancer is not None:
            return (self.target.load_balancer,)
        own = self.target.connect == "own"
        members = self.target.members.values()
        return tuple(member.client_url for member in members if not own or member.name == server.member)

    def routed_away(self, server: ApiServerTarget) -> bool:
        """Whether the clients of an API server still are; without a hook in the spec nobody could route them back."""
        return bool(self.target.drain) and self.state.host(server.host).unit(server.unit).drained

    def leftovers(self) -> Iterator[Host]:
        """Yield the hosts outside the spec's members that still have an etcd of this cluster that is no member."""
        if not self.born:
            return
        listed = self.listed.members.values() if self.listed else ()
        used = {host_of(member.peer_url) for member in listed} | self.target.member_hosts.keys()
        for host in self.state.hosts.values():
            if not host.unreachable and host.address not in used and self._left_behind(host):
                yield host

    def _left_behind(self, host: Host) -> bool:
        data = host.data.get()
        if data is not None:
            return data.cluster_id in {self.cluster_id, *self.former}
        if host.etcd.process.get() is not None or self._may_come_back(host):
            return True
        if host.address in self.target.hosts() or host.record.get() is None:
            return False
        # One that only took backups is dismissed, and forgets the cluster with that.
        return host.etcd.held or host.job.get() is None

    def _may_come_back(self, host: Host) -> bool:
        """Whether an etcd of this cluster is not kept from starting: by the next boot, or between two starts now.

        One that was started by hand after its data was set aside ends at once, and is started again by its supervisor
        a few times: whether it runs in the moment of the look says nothing.
        """
        settings = host.etcd.settings.value or {}
        return not host.etcd.held and settings.get("initial-cluster-token") == self.target.token

    def api_server(self, server: ApiServerTarget) -> RunApiServer | None:
        """Return the step that gives an API server its flags, None when it must not run now."""
        settings = self.api_settings(server)
        if settings is None:
            return None
        return RunApiServer(server.name, server.host, settings, self.target.drain)

    def in_use(self, server: ApiServerTarget) -> Settings:
        """Return the flags that a running API server was started with; none when it does not run."""
        process = self.state.host(server.host).unit(server.unit).process.get()
        return {} if process is None else process.settings
