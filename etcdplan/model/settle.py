"""What follows from processes and quorum: who serves, who leads, which API server is ready.

`lose` takes away at once what can no longer be; `settle` also gives what time alone heals (a started member comes up,
a learner catches up, a leader is elected). Steps wait for the second; a crash may see the first.
"""

from collections.abc import Mapping
from dataclasses import replace

from etcdplan.model.facts import Fact, known, unknown
from etcdplan.model.identity import bootstrap_ids, initial_cluster
from etcdplan.model.quorum import quorum
from etcdplan.model.state import Data, Host, Member, Membership, Settings, State, Unit, host_of

COMES_UP = 75
"""Seconds after its start in which an etcd answers when a majority runs; one that is older does not by time alone."""


def lose(state: State) -> State:
    """Return the state without what an effect just made impossible."""
    return _follow(silenced(state), gains=False)


def silenced(state: State) -> State:
    """Return the state without a member list that nobody is left to tell, as a restore leaves it for a while."""
    listed, hosts = state.membership.value, state.hosts.values()
    restored = any(host.record.value is not None and host.record.value.restore is not None for host in hosts)
    if not restored or any(has_answered(state, url) for url in (listed.members if listed else ())):
        return state
    gone = unknown("members", "no etcd that could list the members answers")
    known = state.last_seen or listed
    members = {url: replace(one, serving=False) for url, one in (known.members if known else {}).items()}
    last_seen = replace(known, members=members) if known else None
    return replace(state, membership=gone, last_seen=last_seen, leader=None)


def settle(state: State) -> State:
    """Return the state after time has healed what it heals by itself. Settling twice changes nothing."""
    return _follow(_appear(_found(state)), gains=True)


def first_data(state: State, settings: Settings) -> Data | None:
    """Return the identity that an etcd with these settings takes up in an empty directory; None when it cannot.

    A started member that lost its data takes up its old identity and panics ("tocommit(…) is out of range"); one that
    served after a bootstrap ends with "member … has already been bootstrapped".
    """
    url = settings.get("initial-advertise-peer-urls", "")
    membership = state.membership.value
    member = membership.members.get(url) if membership else None
    if settings.get("initial-cluster-state") == "new":
        cluster, ids = bootstrap_ids(settings)
        if url not in ids or (membership is not None and (member is None or member.client_urls)):
            return None
        return Data(cluster, ids[url])
    if membership is None or member is None or member.started:
        return None
    return Data(membership.cluster_id, member.id)


def _found(state: State) -> State:
    """A running etcd with an empty directory writes its identity there."""
    for host in state.hosts.values():
        process = host.etcd.process.value
        if process is None or process.hung or host.data.is_unknown or host.data.value is not None:
            continue
        data = first_data(state, process.settings)
        if data is not None:
            state = state.with_host(replace(host, data=known(data)))
    return state


def _runs_as(host: Host | None, member: Member) -> bool | None:
    """Whether the host runs this member's etcd; None when the host cannot be asked."""
    if host is None or host.unreachable or host.etcd.process.is_unknown or host.data.is_unknown:
        return None
    process, data = host.etcd.process.value, host.data.value
    return process is not None and not process.hung and data is not None and data.member_id == member.id


def _follow(state: State, *, gains: bool) -> State:
    membership = state.membership.value
    if membership is None:
        return _api_servers(state, frozenset(), gains=gains)
    runs: dict[str, bool] = {}
    for url, member in membership.members.items():
        seen = _runs_as(state.hosts.get(host_of(url)), member)
        runs[url] = member.serving if seen is None else seen
    voters = [member for member in membership.members.values() if not member.learner]
    holds = sum(runs[member.peer_url] for member in voters) > len(voters) // 2
    members = {
        url: _serve(state, member, runs[url] and holds and (gains or member.serving), gains=gains)
        for url, member in membership.members.items()
    }
    if any(members[url] is not member for url, member in membership.members.items()):
        state = _held(state, membership, members)
        membership = replace(membership, members=members)
        state = replace(state, membership=Fact(membership))
    state = _etcd_answers(state, membership)
    serving = sorted(member.peer_url for member in membership.voters() if member.serving)
    leader = state.leader
    if leader not in serving:
        leader = serving[0] if serving and gains else None
    if leader != state.leader:
        state = replace(state, leader=leader)
    clients = frozenset(url for member in membership.voters() if member.serving for url in member.client_urls)
    return _api_servers(state, clients, gains=gains)


def _held(state: State, before: Membership, members: Mapping[str, Member]) -> State:
    """While a CORRUPT alarm stands: who stops serving cannot be asked; who comes up is expected to hold the right."""
    if state.corruption is None:
        return state
    right = state.corruption.right([voter.peer_url for voter in before.voters()])
    serving = {url for url, member in members.items() if member.serving and not member.learner}
    new = {url: right for url in serving if right is not None and not before.members[url].serving}
    corruption = state.corruption.of(serving)
    return replace(state, corruption=replace(corruption, contents={**corruption.contents, **new}))


def _serve(state: State, member: Member, serving: bool, *, gains: bool) -> Member:
    """Return the member as serving or not; one that serves publishes its name and client URLs, if soon after."""
    if serving == member.serving and not (gains and serving and not member.client_urls):
        return member
    if not serving:
        return replace(member, serving=False)
    host = state.hosts.get(host_of(member.peer_url))
    process = host.etcd.process.value if host else None
    if process is None:
        return replace(member, serving=True)
    urls = tuple(process.settings.get("advertise-client-urls", "").split(","))
    return replace(member, serving=True, name=process.settings.get("name", ""), client_urls=urls)


def _etcd_answers(state: State, membership: Membership) -> State:
    for url, member in membership.members.items():
        host = state.hosts.get(host_of(url))
        if host is None or not member.serving:
            continue
        process = host.etcd.process.value
        if process is not None and not process.answering:
            unit = replace(host.etcd, process=known(replace(process, answering=True)))
            state = state.with_host(replace(host, etcd=unit))
    return state


def _api_servers(state: State, clients: frozenset[str], *, gains: bool) -> State:
    """An API server is ready when one of its endpoints is a serving voter, or a load balancer before a quorum."""
    for host in state.hosts.values():
        changed: dict[str, Unit] = {}
        for name, unit in host.api_servers.items():
            process = unit.process.value
            if process is None or process.hung:
                continue
            endpoints = process.settings.get("etcd-servers", "").split(",")
            reach = any(url in clients or (clients and host_of(url) not in state.hosts) for url in endpoints)
            ready = reach and (gains or process.answering)
            if ready != process.answering:
                changed[name] = replace(unit, process=known(replace(process, answering=ready)))
        if changed:
            state = state.with_host(replace(host, api_servers={**host.api_servers, **changed}))
    return state


def _appear(state: State) -> State:
    """A cluster nobody could be asked about answers once a quorum of its members runs.

    Not so when all that run have answered already, and do not agree, or have had the time to answer: time alone does
    not heal that.
    """
    if state.membership.value is not None:
        return state
    expected = state.last_seen if state.membership.is_unknown else None
    candidates = (_by_their_data(state, expected) if expected else _founded(state), _restored(state))
    for candidate in filter(None, candidates):
        running = _running(state, candidate)
        if quorum(replace(candidate, members=running)).holds:
            break
    else:
        return state
    if all(has_answered(state, url) or _is_old(state, url) for url, m in running.items() if m.serving):
        return state
    silent = {url: replace(member, serving=False) for url, member in candidate.members.items()}
    return replace(state, membership=Fact(replace(candidate, members=silent)))


def _running(state: State, candidate: Membership) -> Mapping[str, Member]:
    return {
        url: replace(member, serving=_runs_as(state.hosts.get(host_of(url)), member) is True)
        for url, member in candidate.members.items()
    }


def _restored(state: State) -> Membership | None:
    """The member list of the restore that is under way: whoever was remembered, its members may run by now."""
    for host in state.hosts.values():
        if host.record.value is not None and host.record.value.restore is not None:
            return _from_settings(host.record.value.restore.initial_settings)
    return None


def _by_their_data(state: State, remembered: Membership) -> Membership:
    """A memory may be older than a member's data, and the data's identity is what it will run as."""
    members = {}
    for url, member in remembered.members.items():
        host = state.hosts.get(host_of(url))
        data = host.data.value if host else None
        ours = data is not None and data.cluster_id == remembered.cluster_id
        members[url] = replace(member, id=data.member_id) if data and ours else member
    return replace(remembered, members=members)


def has_answered(state: State, peer_url: str) -> bool:
    """Whether the etcd on a member's host runs and answers."""
    host = state.hosts.get(host_of(peer_url))
    process = host.etcd.process.value if host else None
    return process is not None and process.answering


def _is_old(state: State, peer_url: str) -> bool:
    host = state.hosts.get(host_of(peer_url))
    process = host.etcd.process.value if host else None
    return process is not None and process.started > 0 and state.now - process.started > COMES_UP


def _founded(state: State) -> Membership | None:
    """The member list that a static bootstrap gives, from the settings of an etcd that runs on data of it."""
    for host in state.hosts.values():
        process, data = host.etcd.process.value, host.data.value
        if process is None or data is None:
            continue
        founded = _from_settings(process.settings)
        if data.cluster_id == founded.cluster_id:
            return founded
    return None


def _from_settings(settings: Settings) -> Membership:
    """The member list that `initial-cluster` and its token give; nobody serves."""
    cluster, ids = bootstrap_ids(settings)
    names = initial_cluster(settings).items()
    return Membership(
        cluster, {url: Member(ids[url], name, url, (), learner=False, serving=False) for url, name in names}
    )
