"""What follows from the processes that run: who is connected, who leads, who serves, who ends.

A stand-in for raft that keeps what matters here: a leader needs the votes of a quorum of the voters that its own log
knows, from members whose logs are no newer; what it commits, everyone has who is connected to it.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.support.fake_etcd import FakeCluster
from tests.support.fake_machine import ETCD_UNIT, FakeProcess, split_url
from tests.support.fake_start import end_process, pair_of

if TYPE_CHECKING:
    from tests.support.fake_world import FakeWorld

ELECTION = 1.0
"""Seconds without a leader after one was lost; a leader that is told to stop hands over before."""

Near = dict[FakeProcess, list[FakeProcess]]


def react(world: "FakeWorld") -> None:
    """Let everything happen that happens without time passing."""
    for _ in range(100):
        alive = world.live_etcds()
        near = _connect(world, alive)
        if not _round(world, alive, near):
            break
    else:
        raise AssertionError("the fake world does not come to rest")
    world.near = near
    _write(world)
    _api_servers(world)


def can_lead(process: FakeProcess, near: Near) -> bool:
    """Whether a quorum would vote for this process, or goes on following it."""
    data = process.data
    if process not in near or data is None or data.cluster is None or data.forgetful:
        return False
    voters = [id for id, member in data.cluster.config(data.applied).items() if not member.learner]
    if data.member_id not in voters:
        return False
    votes = {data.member_id}
    for other in near[process]:
        theirs = other.data
        if theirs and not theirs.forgetful and theirs.applied <= data.applied and theirs.member_id in voters:
            votes.add(theirs.member_id)
    return len(votes) > len(voters) // 2


def quorate(world: "FakeWorld") -> set[FakeCluster]:
    """Return the clusters that have a quorum, whether or not it has elected a leader yet."""
    return {p.data.cluster for p in world.near if p.data and p.data.cluster and can_lead(p, world.near)}


def follows(world: "FakeWorld", process: FakeProcess) -> FakeProcess | None:
    """Return the leader that a process hears."""
    cluster = process.data.cluster if process.data else None
    leader = cluster.leader if cluster else None
    return leader if leader is process or leader in world.near.get(process, ()) else None


def serves(world: "FakeWorld", process: FakeProcess | None) -> bool:
    """Whether a process is a voter that answers linearizable reads."""
    if process is None or not process.ready or process.stopped or process.data is None:
        return False
    if process.machine.units[ETCD_UNIT].process is not process or follows(world, process) is None:
        return False
    cluster = process.data.cluster
    member = cluster.members.get(process.data.member_id) if cluster else None
    return member is not None and not member.learner


def _connect(world: "FakeWorld", alive: list[FakeProcess]) -> Near:
    """Open what connections can be opened; those that are open last while both ends and the network do."""
    near: Near = {process: [] for process in alive}
    links = {}
    for i, one in enumerate(alive):
        for other in alive[i + 1 :]:
            same = one.data and other.data and one.data.cluster is other.data.cluster
            if not same or not world.connects(one.machine, other.machine):
                continue
            since = world.links.get((one, other))
            if since is None and not peers_accept(world, one, other):
                continue
            links[one, other] = world.clock.now if since is None else since
            near[one].append(other)
            near[other].append(one)
    world.links = links
    return near


def peers_accept(world: "FakeWorld", one: FakeProcess, other: FakeProcess) -> bool:
    """Whether two etcds would accept each other's certificates in a handshake of now."""
    if not one.peer_tls and not other.peer_tls:
        return True
    for mine, theirs in ((one, other), (other, one)):
        pair = pair_of(mine, "peer-cert-file")
        if pair is None or not pair.trusted_by(theirs.trust):
            return False
        for usage in ("client", "server"):
            if not pair.fits(now=world.clock.now, usage=usage, name=mine.machine.address):
                return False
    return True


def _round(world: "FakeWorld", alive: list[FakeProcess], near: Near) -> bool:
    """Do what is due; return whether anything changed that others must see."""
    removed = [process for process in alive if _is_told_of_removal(process, near[process])]
    for process in removed:
        end_process(world, process, world.exit_of_removed)
    if removed:
        return True
    changed = False
    for cluster in world.clusters:
        changed |= _lead(world, cluster, alive, near)
        changed |= _follow(world, cluster, near)
    return changed


def _is_told_of_removal(process: FakeProcess, near: list[FakeProcess]) -> bool:
    data = process.data
    assert data is not None and data.cluster is not None
    seen = max(other.data.applied for other in (process, *near) if other.data)
    return data.cluster.removed.get(data.member_id, seen + 1) <= seen


def _lead(world: "FakeWorld", cluster: FakeCluster, alive: list[FakeProcess], near: Near) -> bool:
    if cluster.leader is not None:
        if can_lead(cluster.leader, near):
            return False
        cluster.leader = None
        cluster.election_at = world.clock.now + ELECTION
        world.at(ELECTION)
        return True
    if world.clock.now < cluster.election_at:
        return False
    able = [p for p in alive if p.data and p.data.cluster is cluster and can_lead(p, near)]
    if not able:
        return False
    cluster.leader = max(able, key=lambda p: (p.data.applied if p.data else 0, -p.pid))
    if not cluster.ever_led:
        cluster.ever_led = True
        if sum(other.ever_led for other in world.clusters if other.id not in world.replaced) > 1:
            world.violations.append(f"{world.clock.now:.1f} a second cluster formed, ID {cluster.id:x}")
    return True


def _follow(world: "FakeWorld", cluster: FakeCluster, near: Near) -> bool:
    """Give the log to everyone who hears the leader, and publish those that have it."""
    leader = cluster.leader
    if leader is None:
        return False
    followers = []
    for process in (leader, *near[leader]):
        data = process.data
        assert data is not None
        if data.forgetful:  # tocommit(…) is out of range. Was the raft log corrupted, truncated, or lost?
            end_process(world, process, 2)
            return True
        if data.member_id in cluster.members and not _is_catching_up(world, process, leader):
            followers.append(process)
            cluster.fed.add(data.member_id)
    changed = False
    for process in followers:
        if not process.ready and process.publishes_at <= world.clock.now:
            process.ready = True
            changed |= _publish(cluster, process)
    for process in followers:
        if process.data is not None:
            process.data.applied = cluster.committed
    return changed


def _is_catching_up(world: "FakeWorld", process: FakeProcess, leader: FakeProcess) -> bool:
    if process is leader or (process.data and process.data.applied > 0):
        return False
    since = world.links[min(process, leader, key=_pid), max(process, leader, key=_pid)]
    left = since + world.catch_up - world.clock.now
    if left <= 1e-6:
        return False
    if process not in world.catching_up:
        world.catching_up.add(process)
        world.at(left)
    return True


def _pid(process: FakeProcess) -> int:
    return process.pid


def _publish(cluster: FakeCluster, process: FakeProcess) -> bool:
    assert process.data is not None
    member = cluster.members[process.data.member_id]
    urls = tuple(process.settings.get("advertise-client-urls", "").split(","))
    published = replace(member, name=process.settings["name"], client_urls=urls)
    if published == member:
        return False
    cluster.commit({**cluster.members, member.id: published})
    return True


def replicate(world: "FakeWorld", cluster: FakeCluster) -> None:
    """Give a change that was just committed to everyone who hears the leader, those that it removes included."""
    leader = cluster.leader
    assert leader is not None
    for process in (leader, *world.near[leader]):
        if process.data and process.data.applied and not process.data.forgetful:
            process.data.applied = cluster.committed


def _write(world: "FakeWorld") -> None:
    """A client writes to every cluster that can; what is acknowledged lies on a quorum's disks."""
    for cluster in world.clusters:
        if cluster.leader is not None and not cluster.corrupt:
            cluster.committed += 1
            cluster.acked = cluster.committed
            replicate(world, cluster)


def _api_servers(world: "FakeWorld") -> None:
    for process in world.processes():
        if process.unit == ETCD_UNIT or not process.up or process.stopped:
            continue
        etcd = process.connected
        if etcd is None or not serves(world, etcd) or not world.connects(process.machine, etcd.machine):
            process.connected = etcd = _dial(world, process)
        process.ready = etcd is not None
        if etcd is not None and process.cluster is None:
            process.cluster = etcd.data.cluster if etcd.data else None


def _dial(world: "FakeWorld", process: FakeProcess) -> FakeProcess | None:
    for url in process.endpoints:
        for etcd in world.etcds_at_client_url(url, process.machine):
            right = process.cluster is None or (etcd.data and etcd.data.cluster is process.cluster)
            if right and serves(world, etcd) and _handshake(world, process, etcd, split_url(url)[1]):
                return etcd
    return None


def _handshake(world: "FakeWorld", client: FakeProcess, etcd: FakeProcess, name: str) -> bool:
    if not etcd.client_tls:
        return True
    now = world.clock.now
    server, own = pair_of(etcd, "cert-file"), pair_of(client, "etcd-certfile")
    return (
        server is not None
        and server.fits(now=now, usage="server", name=name)
        and server.trusted_by(client.trust)
        and own is not None
        and own.fits(now=now, usage="client")
        and own.trusted_by(etcd.trust)
    )
