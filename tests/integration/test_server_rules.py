"""The model of etcd's membership rules against real servers, operation by operation, on every minor version.

What the model is given is read from the servers: the member list, and from the metrics of the member that is called
which peers it is connected to. So a state is whatever was brought about, and each comparison stands for itself.
"""

import re
import signal
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from etcdplan.model.server_rules import Operation, Peer, Rejection, verdict
from etcdplan.transport.errors import EtcdOutcomeUnknown, EtcdRejected, EtcdUnreachable
from etcdplan.transport.etcd import EtcdClient
from etcdplan.transport.quiet_grpc import grpc
from tests.support.etcd_process import EtcdCluster, EtcdProcess, wait_until

pytestmark = pytest.mark.host

VERSIONS = ("3.4.23", "3.5.35", "3.6.16", "3.7.3")
ADD_VOTER, ADD_LEARNER, REMOVE, PROMOTE = Operation

LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))
GAVE_UP = ("no answer in time", "context deadline exceeded", Rejection.NO_QUORUM.value)
HEALTH_INTERVAL = 5.0
MARGIN = 0.4


class Comparison:
    """Tries operations on a cluster and compares what happens with what the model says."""

    def __init__(self, cluster: EtcdCluster) -> None:
        self.cluster = cluster
        self.serving = cluster.leader()
        self.seen: list[tuple[Operation, Rejection | None]] = []
        self.settling_seen = False
        self._connected_at: dict[tuple[str, str], float] = {}

    def connections(self, serving: EtcdProcess) -> dict[str, float]:
        """Return the names of the processes that `serving` is connected to, and when that was first seen."""
        with LOCAL.open(f"http://{serving.address}:2381/metrics", timeout=5) as reply:
            text = reply.read().decode()
        active = set(re.findall(r'^etcd_network_active_peers{.*Remote="(\w+)"} 1$', text, re.MULTILINE))
        for name, member_id in self._ids().items():
            pair = (serving.name, name)
            if f"{member_id:x}" in active:
                self._connected_at.setdefault(pair, time.monotonic())
            else:
                self._connected_at.pop(pair, None)
        return {name: at for (own, name), at in self._connected_at.items() if own == serving.name}

    def peers(self, serving: EtcdProcess) -> dict[int, Peer]:
        """Return the members as `serving` sees them, by ID, once none is close to the end of its five seconds."""
        names = {member_id: name for name, member_id in self._ids().items()}
        while True:
            now = time.monotonic()
            found, unclear = {}, False
            connections = self.connections(serving)
            for member in serving.client.members(timeout=5, linearizable=False).members:
                name = names.get(member.id, "")
                at = connections.get(name)
                own = name == serving.name
                if at is not None and not own:
                    begun = max(serving.started_at, self.cluster.processes[name].started_at)
                    unclear |= now - begun > HEALTH_INTERVAL - MARGIN and now - at < HEALTH_INTERVAL + MARGIN
                settled = own or (at is not None and now - at > HEALTH_INTERVAL)
                found[member.id] = Peer(
                    started=bool(member.name),
                    learner=member.is_learner,
                    connected=settled,
                    settling=at is not None and not settled,
                )
            if not unclear:
                return found
            time.sleep(0.1)

    def settle(self, serving: EtcdProcess | None = None) -> None:
        """Wait until each running process has been connected for five seconds."""
        serving = serving or self.serving
        others = {name for name, process in self.cluster.processes.items() if process.running} - {
            serving.name
        }
        limit = HEALTH_INTERVAL + MARGIN

        def settled() -> bool:
            connections = self.connections(serving)
            now = time.monotonic()
            return all(name in connections and now - connections[name] > limit for name in others)

        wait_until(settled)

    def stop(self, process: EtcdProcess) -> None:
        """Kill a process and wait until the others have noticed."""
        process.stop()
        others = [other for other in self.cluster.processes.values() if other.status() is not None]
        wait_until(lambda: all(process.name not in self.connections(other) for other in others))

    def id_of(self, process: EtcdProcess) -> int:
        """Return a member's ID."""
        return self._ids()[process.name]

    def _ids(self) -> dict[str, int]:
        """Return the IDs of the processes that are members by name; those of newcomers by peer URL."""
        members = self.serving.client.members(timeout=5, linearizable=False).members
        by_url = {member.peer_urls[0]: member.id for member in members}
        processes = self.cluster.processes.values()
        return {process.name: by_url[process.peer_url] for process in processes if process.peer_url in by_url}

    def agree(
        self,
        operation: Operation,
        target: int | None = None,
        *,
        via: EtcdProcess | None = None,
        in_sync: bool = False,
        keep: bool = False,
        timeout: float = 15,
    ) -> int:
        """Try an operation, assert that the model foretold the outcome; take an addition back unless `keep`.

        Returns the ID of an added member, or 0.
        """
        serving = via or self.serving
        peers = self.peers(serving)
        index = None if target is None else list(peers).index(target)
        expected = verdict(
            self.cluster.version, list(peers.values()), operation, index, learner_in_sync=in_sync
        )
        outcome, added = attempt(serving.client, operation, target or self.cluster.new_peer_url(), timeout)
        deadline = time.monotonic() + 10
        while in_sync and outcome is Rejection.LEARNER_NOT_READY and time.monotonic() < deadline:
            # That the learner has the log is seen before the leader has heard of it.
            time.sleep(0.05)
            outcome, added = attempt(serving.client, operation, target or "", timeout)
        assert outcome is expected, f"{self.cluster.version} {operation} {target} {list(peers.values())}"
        if outcome is None:
            settle_change(serving.client)
        self.seen.append((operation, outcome))
        self.settling_seen |= any(peer.settling for peer in peers.values())
        if added and not keep:
            self.agree(REMOVE, added)
        return added


def attempt(
    client: EtcdClient, operation: Operation, subject: int | str, timeout: float
) -> tuple[Rejection | None, int]:
    """Try an operation on a member ID or with a new peer URL; return its outcome and an added member's ID."""
    try:
        match operation, subject:
            case Operation.REMOVE, int():
                client.member_remove(subject, timeout=timeout)
            case Operation.PROMOTE, int():
                client.member_promote(subject, timeout=timeout)
            case _, str():
                added = client.member_add(subject, learner=operation is ADD_LEARNER, timeout=timeout)
                return None, added.id
            case _:
                raise AssertionError(f"{operation} {subject}")
    except EtcdRejected as error:
        return Rejection(error.reason.value), 0
    except EtcdOutcomeUnknown as error:
        # Whether the server's word or the deadline comes first is chance.
        if error.detail.startswith(GAVE_UP):
            return Rejection.NO_QUORUM, 0
        return Rejection(error.detail), 0
    return None, 0


def settle_change(client: EtcdClient) -> None:
    """Read linearizably after a change, so that the next one can follow.

    A server answers when it has applied a change, and that may be before its raft node has heard of it (etcd
    `server/etcdserver/raft.go`, Advance comes last). A leader drops what is proposed meanwhile without a word (raft
    `raft.go`, "possible unapplied conf change"), and the client waits in vain. A read is answered from a later round.
    """
    with suppress(EtcdUnreachable):  # the change left no quorum behind
        client.linearizable_read(timeout=10)


def put(process: EtcdProcess, count: int) -> None:
    """Lengthen the raft log."""
    with grpc.insecure_channel(f"ipv4:{process.address}:2379") as channel:
        call = channel.unary_unary("/etcdserverpb.KV/Put")
        for _ in range(count):
            call(b"\x0a\x01k\x12\x01v", timeout=5)


def caught_up(learner: EtcdProcess, leader: EtcdProcess) -> Callable[[], bool]:
    def check() -> bool:
        mine, theirs = learner.status(), leader.status()
        return (
            mine is not None and theirs is not None and mine.raft_applied_index >= theirs.raft_applied_index
        )

    return check


@pytest.mark.parametrize("version", VERSIONS)
def test_three_members_down_to_one(version: str, tmp_path: Path) -> None:
    with EtcdCluster(version, 3, tmp_path) as cluster:
        compare = Comparison(cluster)
        leader = compare.serving
        b, c = (process for process in cluster.processes.values() if process is not leader)
        b_id, c_id = compare.id_of(b), compare.id_of(c)
        agree = compare.agree

        # Just started: connected for less than five seconds.
        for operation, target in ((ADD_VOTER, None), (ADD_LEARNER, None), (REMOVE, b_id), (PROMOTE, b_id)):
            agree(operation, target)
            agree(operation, target, via=c)

        compare.settle()
        agree(PROMOTE, b_id)
        agree(ADD_VOTER)
        agree(ADD_LEARNER)
        unstarted = agree(ADD_LEARNER, keep=True)
        agree(ADD_LEARNER)
        agree(ADD_VOTER)
        agree(PROMOTE, unstarted)
        agree(PROMOTE, unstarted, via=b)
        agree(REMOVE, unstarted)

        # A voter that went away for a moment, and a learner that starts meanwhile.
        learner, learner_id = cluster.join(learner=True, via=leader)
        compare.stop(c)
        c.start()
        wait_until(lambda: c.name in compare.connections(leader))
        agree(ADD_VOTER)
        agree(ADD_LEARNER)
        agree(REMOVE, c_id)
        agree(REMOVE, b_id)

        # A learner that lags, while a voter is down.
        wait_until(caught_up(learner, leader))
        compare.stop(c)
        for serving in (leader, b):
            agree(ADD_VOTER, via=serving)
            agree(ADD_LEARNER, via=serving)
            agree(REMOVE, compare.id_of(leader if serving is b else b), via=serving)
        learner.signal(signal.SIGSTOP)
        put(leader, 100)
        agree(PROMOTE, learner_id)
        learner.signal(signal.SIGCONT)
        wait_until(caught_up(learner, leader))
        agree(PROMOTE, learner_id, in_sync=True)
        agree(PROMOTE, learner_id)
        agree(REMOVE, b_id)
        agree(REMOVE, c_id)

        # Three voters and one that never started; then a second one, where the version takes it.
        compare.settle()
        first = agree(ADD_VOTER, keep=True)
        agree(ADD_LEARNER)
        second = agree(ADD_VOTER, keep=True)
        if second:
            agree(ADD_VOTER)
            agree(ADD_LEARNER)
            agree(REMOVE, b_id)
            agree(REMOVE, second)
        agree(PROMOTE, first)
        agree(REMOVE, b_id)
        wait_until(lambda: not b.running)

        # Two voters and one that never started.
        agree(ADD_VOTER)
        agree(ADD_LEARNER)
        agree(REMOVE, learner_id)
        agree(REMOVE, first)
        agree(ADD_VOTER)
        agree(REMOVE, learner_id)

        # One voter, and then one of two.
        me = compare.id_of(leader)
        agree(REMOVE, me)
        agree(PROMOTE, me)
        agree(ADD_LEARNER)
        missing = agree(ADD_VOTER, keep=True)
        agree(ADD_VOTER)
        agree(ADD_LEARNER)
        agree(REMOVE, me)
        wait_until(lambda: (status := leader.status()) is not None and status.leader == 0)
        agree(REMOVE, missing, timeout=1)
        agree(PROMOTE, missing)

        assert {outcome for _, outcome in compare.seen} == {None, *Rejection}
        assert compare.settling_seen


@pytest.mark.parametrize("version", ["3.4.23", "3.7.3"])
def test_five_members_down_to_two(version: str, tmp_path: Path) -> None:
    with EtcdCluster(version, 5, tmp_path) as cluster:
        compare = Comparison(cluster)
        leader = compare.serving
        b, _, d, e = (process for process in cluster.processes.values() if process is not leader)
        agree = compare.agree

        compare.settle()
        agree(ADD_VOTER)
        agree(ADD_LEARNER)

        compare.stop(e)
        agree(ADD_VOTER)
        agree(ADD_LEARNER)
        agree(ADD_LEARNER, via=b)

        compare.stop(d)
        agree(ADD_VOTER)
        agree(ADD_LEARNER)
        agree(REMOVE, compare.id_of(b))
        agree(REMOVE, compare.id_of(d))

        # Four voters, one of them down.
        agree(ADD_VOTER)
        agree(ADD_LEARNER)
        agree(REMOVE, compare.id_of(b))
        wait_until(lambda: not b.running)
        agree(ADD_VOTER)
        agree(REMOVE, compare.id_of(e))
        agree(ADD_VOTER)
        assert (ADD_VOTER, None) in compare.seen
        assert (ADD_VOTER, Rejection.UNHEALTHY_CLUSTER) in compare.seen
