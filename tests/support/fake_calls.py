"""The mutating calls of etcd, as a server of the fake world answers them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from etcdplan.model.server_rules import Operation, Peer, Rejection, verdict
from etcdplan.transport.errors import EtcdOutcomeUnknown, EtcdRejected, EtcdUnreachable, Reason
from tests.support.fake_consensus import follows, replicate
from tests.support.fake_etcd import Config, FakeCluster, FakeMember, newcomer_id
from tests.support.fake_machine import FakeMachine, FakeProcess
from tests.support.fake_start import shows_certificate

if TYPE_CHECKING:
    from tests.support.fake_world import FakeWorld

HEALTH_INTERVAL = 5.0
"""A peer counts as connected when it has been for so long (etcd `HealthInterval`)."""
REQUEST_TIMEOUT = 7.0
CLIENT_DEADLINE = 10.0


def member_add(world: "FakeWorld", source: FakeMachine, client_url: str, peer_url: str) -> None:
    """Add a learner."""
    etcd, cluster = _reach(world, source, client_url, "MemberAdd")
    if not peer_url.startswith(("http://", "https://")) or not peer_url.rpartition(":")[2].isdigit():
        raise EtcdRejected(client_url, "MemberAdd", Reason.BAD_URLS)
    rejection = _verdict(world, etcd, cluster, Operation.ADD_LEARNER, None)
    number = newcomer_id(peer_url, int(world.clock.now))
    if rejection in (None, Rejection.TOO_MANY_LEARNERS):
        if number in cluster.members:
            raise EtcdRejected(client_url, "MemberAdd", Reason.MEMBER_ID_EXISTS)
        if any(member.peer_url == peer_url for member in cluster.members.values()):
            raise EtcdRejected(client_url, "MemberAdd", Reason.PEER_URL_EXISTS)
    newcomer = FakeMember(number, "", peer_url, (), learner=True)
    _commit(world, etcd, client_url, "MemberAdd", rejection, lambda members: {**members, number: newcomer})
    world.members_added[peer_url] += 1


def member_promote(world: "FakeWorld", source: FakeMachine, client_url: str, member_id: int) -> None:
    """Promote a learner."""
    etcd, cluster = _reach(world, source, client_url, "MemberPromote")
    _check_listed(etcd, client_url, "MemberPromote", member_id)
    rejection = _verdict(world, etcd, cluster, Operation.PROMOTE, member_id)

    def change(members: Config) -> Config:
        return {**members, member_id: replace(members[member_id], learner=False)}

    _commit(world, etcd, client_url, "MemberPromote", rejection, change)


def member_remove(world: "FakeWorld", source: FakeMachine, client_url: str, member_id: int) -> None:
    """Remove a member; its process ends as soon as it hears of it."""
    etcd, cluster = _reach(world, source, client_url, "MemberRemove")
    _check_listed(etcd, client_url, "MemberRemove", member_id)
    rejection = _verdict(world, etcd, cluster, Operation.REMOVE, member_id)

    def change(members: Config) -> Config:
        return {number: member for number, member in members.items() if number != member_id}

    _commit(world, etcd, client_url, "MemberRemove", rejection, change)


def move_leader(world: "FakeWorld", source: FakeMachine, client_url: str, member_id: int) -> None:
    """Hand the leadership over."""
    etcd, cluster = _reach(world, source, client_url, "MoveLeader")
    if cluster.leader is not etcd:
        raise EtcdRejected(client_url, "MoveLeader", Reason.NOT_LEADER)
    member = cluster.members.get(member_id)
    if member is None or member.learner:
        raise EtcdRejected(client_url, "MoveLeader", Reason.BAD_TRANSFEREE)
    heirs = [p for p in (etcd, *world.near[etcd]) if p.data and p.data.member_id == member_id]
    if not heirs:
        world.clock.sleep(REQUEST_TIMEOUT)
        raise EtcdOutcomeUnknown(client_url, "MoveLeader", "request timed out, leader transfer took too long")
    cluster.leader = heirs[0]


def clear_corrupt(world: "FakeWorld", source: FakeMachine, client_url: str, member_id: int) -> None:
    """Take an alarm back; that it is not there is no mistake."""
    etcd, cluster = _reach(world, source, client_url, "Alarm")
    _commit(world, etcd, client_url, "Alarm", None, lambda members: members)
    cluster.corrupt.discard(member_id)


CALLS: Final[Mapping[str, Callable[["FakeWorld", FakeMachine, str, Any], None]]] = {
    "member_add": member_add,
    "member_promote": member_promote,
    "member_remove": member_remove,
    "move_leader": move_leader,
    "clear_corrupt": clear_corrupt,
}


def lost(call: str, args: tuple[object, ...]) -> EtcdOutcomeUnknown:
    """Return the error of a call whose reply did not come."""
    return EtcdOutcomeUnknown(str(args[0]), call, "connection reset")


def _reach(
    world: "FakeWorld", source: FakeMachine, client_url: str, call: str
) -> tuple[FakeProcess, FakeCluster]:
    found = world.etcds_at_client_url(client_url, source)
    etcd = found[0] if found else None
    if etcd is not None and etcd.stopped and etcd.ready:
        world.clock.sleep(CLIENT_DEADLINE)
        raise EtcdOutcomeUnknown(client_url, call, "no answer in time")
    if etcd is None or not etcd.ready or not shows_certificate(world, etcd, client_url):
        raise EtcdUnreachable(client_url, call, "failed to connect")
    assert etcd.data is not None and etcd.data.cluster is not None
    cluster = etcd.data.cluster
    member = cluster.config(etcd.data.applied).get(etcd.data.member_id)
    if member is not None and member.learner:
        raise EtcdRejected(client_url, call, Reason.NOT_SUPPORTED_FOR_LEARNER)
    return etcd, cluster


def _check_listed(etcd: FakeProcess, client_url: str, call: str, member_id: int) -> None:
    assert etcd.data is not None and etcd.data.cluster is not None
    if member_id not in etcd.data.cluster.config(etcd.data.applied):
        raise EtcdRejected(client_url, call, Reason.MEMBER_NOT_FOUND)


def _verdict(
    world: "FakeWorld", etcd: FakeProcess, cluster: FakeCluster, operation: Operation, target: int | None
) -> Rejection | None:
    assert etcd.data is not None
    since = {etcd.data.member_id: float("-inf")}
    applied = {etcd.data.member_id: etcd.data.applied}
    for one, other in world.links:
        peer = other if one is etcd else one if other is etcd else None
        if peer is not None and peer.data is not None:
            since[peer.data.member_id] = world.links[one, other]
            applied[peer.data.member_id] = peer.data.applied
    settled = world.clock.now - HEALTH_INTERVAL
    members = cluster.config(etcd.data.applied)
    peers = [
        Peer(
            started=bool(member.name),
            learner=member.learner,
            connected=since.get(number, settled + 1) <= settled,
            settling=number in since and since[number] > settled,
        )
        for number, member in members.items()
    ]
    in_sync = target is not None and applied.get(target, 0) >= 0.9 * cluster.committed
    index = None if target is None else [*members].index(target)
    return verdict(etcd.version, peers, operation, index, learner_in_sync=in_sync)


def _commit(
    world: "FakeWorld",
    etcd: FakeProcess,
    client_url: str,
    call: str,
    rejection: Rejection | None,
    change: Callable[[Config], Config],
) -> None:
    """Make the change, or raise what the server says; a proposal waits for a leader as long as a request may take."""
    if rejection in (Rejection.NO_QUORUM, Rejection.NO_LEADER):
        world.clock.sleep(REQUEST_TIMEOUT)
        raise EtcdOutcomeUnknown(client_url, call, rejection.value)
    if rejection is not None:
        raise EtcdRejected(client_url, call, Reason(rejection.value))
    deadline = world.clock.now + REQUEST_TIMEOUT
    while follows(world, etcd) is None:
        if world.clock.now >= deadline:
            raise EtcdOutcomeUnknown(client_url, call, "etcdserver: request timed out")
        world.clock.sleep(0.1)
    assert etcd.data is not None and etcd.data.cluster is not None
    cluster = etcd.data.cluster
    cluster.commit(change(cluster.members))
    replicate(world, cluster)
