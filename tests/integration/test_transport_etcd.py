"""The client against real etcd of every minor version: each call, each rejection, lost replies."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etcdplan.lab.binaries import etcd_binaries
from etcdplan.pki.authority import Authority
from etcdplan.transport.errors import EtcdOutcomeUnknown, EtcdRejected, EtcdUnreachable, Reason
from etcdplan.transport.etcd import EtcdClient, ListedMember, MemberList
from tests.support import tls
from tests.support.etcd_process import EtcdCluster, EtcdProcess, wait_until
from tests.support.lost_reply import LostReplyProxy

pytestmark = pytest.mark.host

VERSIONS = ("3.4.23", "3.5.35", "3.6.16", "3.7.3")


@pytest.fixture(scope="module")
def ca() -> Authority:
    return tls.authority()


@pytest.fixture(params=VERSIONS)
def cluster(request: pytest.FixtureRequest, tmp_path: Path, ca: Authority) -> Iterator[EtcdCluster]:
    """One member, with TLS."""
    with EtcdCluster(request.param, 1, tmp_path, ca=ca) as cluster:
        yield cluster


def reason(call: Callable[[], object]) -> Reason:
    with pytest.raises(EtcdRejected) as caught:
        call()
    return caught.value.reason


def listed(client: EtcdClient, peer_url: str) -> list[ListedMember]:
    members = client.confirmed_members(timeout=15).members
    return [member for member in members if peer_url in member.peer_urls]


def client_answers(client: EtcdClient) -> bool:
    """gRPC may give the next call or two to a connection that is going down."""
    try:
        return client.status(timeout=5).leader != 0
    except EtcdUnreachable:
        return False


def test_status_list_and_rejections_of_one_member(cluster: EtcdCluster) -> None:
    (process,) = cluster.processes.values()
    client = process.client
    status = client.status(timeout=5)
    assert (status.version, status.leader, status.is_learner) == (cluster.version, status.member_id, False)
    assert status.errors == ()
    assert status.raft_applied_index <= status.raft_index
    assert min(status.raft_term, status.db_size, status.db_size_in_use, status.raft_applied_index) > 0
    modern = cluster.version >= "3.6"
    assert (bool(status.storage_version), bool(status.db_size_quota)) == (modern, modern)

    me = ListedMember(status.member_id, "m1", (process.peer_url,), (process.client_url,), False)
    for members in (
        client.members(timeout=5),
        client.members(timeout=5, linearizable=False),
        client.confirmed_members(timeout=5),
    ):
        assert members == MemberList(status.cluster_id, (me,))
    assert client.linearizable_read(timeout=5) == 1

    url = cluster.new_peer_url()
    learner = client.member_add(url, learner=True, timeout=15)
    assert learner == ListedMember(learner.id, "", (url,), (), True)
    assert listed(client, url) == [learner]

    def add(peer_url: str, *, learner: bool = False) -> Reason:
        return reason(lambda: client.member_add(peer_url, learner=learner, timeout=15))

    assert add(cluster.new_peer_url(), learner=True) is Reason.TOO_MANY_LEARNERS
    assert add("http://127.0.0.1") is Reason.BAD_URLS
    wait_until(lambda: add(url) is Reason.PEER_URL_EXISTS)  # within the same second: MEMBER_ID_EXISTS
    assert reason(lambda: client.member_promote(learner.id, timeout=15)) is Reason.LEARNER_NOT_READY
    assert reason(lambda: client.member_promote(me.id, timeout=15)) is Reason.NOT_A_LEARNER
    assert reason(lambda: client.member_promote(1, timeout=15)) is Reason.MEMBER_NOT_FOUND
    assert reason(lambda: client.member_remove(me.id, timeout=15)) is Reason.NOT_ENOUGH_STARTED
    assert reason(lambda: client.move_leader(learner.id, timeout=15)) is Reason.BAD_TRANSFEREE
    assert reason(lambda: client.move_leader(1, timeout=15)) is Reason.BAD_TRANSFEREE
    client.move_leader(me.id, timeout=15)
    client.member_remove(learner.id, timeout=15)
    assert reason(lambda: client.member_remove(learner.id, timeout=15)) is Reason.MEMBER_NOT_FOUND
    assert client.confirmed_members(timeout=5).members == (me,)

    def id_exists() -> bool:
        url = cluster.new_peer_url()
        added = client.member_add(url, learner=True, timeout=15)
        again = add(url, learner=True)
        client.member_remove(added.id, timeout=15)
        return again is Reason.MEMBER_ID_EXISTS

    wait_until(id_exists)


def test_an_addition_and_a_removal_with_lost_replies_happen_once(cluster: EtcdCluster) -> None:
    (process,) = cluster.processes.values()
    url = cluster.new_peer_url()
    with (
        LostReplyProxy(process.address, 2379) as proxy,
        EtcdClient(f"https://127.0.0.1:{proxy.port}", cluster.credentials) as client,
    ):
        client.status(timeout=5)
        proxy.cut_replies()
        with pytest.raises(EtcdOutcomeUnknown):
            client.member_add(url, learner=True, timeout=15)
        assert proxy.cuts == 1
        (added,) = listed(process.client, url)
        wait_until(lambda: client_answers(client))
        assert listed(client, url) == [added]

        proxy.cut_replies()
        with pytest.raises(EtcdOutcomeUnknown):
            client.member_remove(added.id, timeout=15)
        assert proxy.cuts == 2
        assert listed(process.client, url) == []

        wait_until(lambda: client_answers(client))
        proxy.blackhole()
        with pytest.raises(EtcdOutcomeUnknown):
            client.member_add(url, learner=True, timeout=0.5)
        assert listed(process.client, url) == []


def test_learner_follower_and_lost_quorum(cluster: EtcdCluster) -> None:
    first = cluster.leader()
    learner, learner_id = cluster.join(learner=True, via=first)
    # The first announcement of a newcomer is sometimes lost, and repeated after 7 s.
    wait_until(lambda: learner.status() is not None)
    assert learner.client.status(timeout=5).is_learner
    assert reason(lambda: learner.client.linearizable_read(timeout=5)) is Reason.NOT_SUPPORTED_FOR_LEARNER
    assert reason(lambda: learner.client.members(timeout=5)) is Reason.NOT_SUPPORTED_FOR_LEARNER
    assert (
        reason(lambda: learner.client.member_promote(learner_id, timeout=15))
        is Reason.NOT_SUPPORTED_FOR_LEARNER
    )
    with (
        LostReplyProxy(first.address, 2379) as proxy,
        EtcdClient(f"https://127.0.0.1:{proxy.port}", cluster.credentials) as client,
    ):
        client.status(timeout=5)
        proxy.cut_replies()
        with pytest.raises(EtcdOutcomeUnknown):
            client.member_promote(learner_id, timeout=15)
        assert [member.is_learner for member in listed(first.client, learner.peer_url)] == [False]
        wait_until(lambda: client_answers(client))
        # Repeating it shows that it was done.
        assert reason(lambda: client.member_promote(learner_id, timeout=15)) is Reason.NOT_A_LEARNER

        follower = learner
        wait_until(follower.serves)
        status = follower.client.status(timeout=5)
        assert reason(lambda: follower.client.move_leader(learner_id, timeout=15)) is Reason.NOT_LEADER
        first.client.move_leader(learner_id, timeout=15)
        assert cluster.leader() is follower
        follower.client.move_leader(status.leader, timeout=15)
        assert cluster.leader() is first
        wait_until(first.serves)

        client.status(timeout=5)
        proxy.cut_replies()
        with pytest.raises(EtcdOutcomeUnknown):
            client.move_leader(learner_id, timeout=15)
        assert cluster.leader() is follower

    follower.stop()
    url = cluster.new_peer_url()
    assert reason(lambda: first.client.member_add(url, learner=True, timeout=15)) is Reason.UNHEALTHY_CLUSTER
    # For a membership change the server takes the caller's deadline, and may tell it first; a read has 7 s.
    with pytest.raises(EtcdOutcomeUnknown, match=r"no answer in time|request timed out|deadline exceeded"):
        first.client.member_remove(learner_id, timeout=1)
    with pytest.raises(EtcdUnreachable, match=r"etcdserver: (request timed out|leader changed)"):
        first.client.confirmed_members(timeout=15)
    assert len(first.client.members(timeout=5, linearizable=False).members) == 2
    assert first.client.status(timeout=5).errors == ("etcdserver: no leader",)


@pytest.mark.parametrize("version", ["3.4.23", "3.7.3"])
def test_users_without_rights(version: str, tmp_path: Path, ca: Authority) -> None:
    """With authentication on, a certificate's common name is the user; plain HTTP has none."""
    root = ("user add root:secret", "user grant-role root root", "auth enable")
    for authority, expected, commands in (
        (ca, Reason.UNKNOWN_USER, root),
        (ca, Reason.PERMISSION_DENIED, ("user add test:secret", *root)),
        (None, Reason.NO_USER, root),
    ):
        directory = tmp_path / expected.name
        directory.mkdir()
        with EtcdCluster(version, 1, directory, ca=authority) as cluster:
            (process,) = cluster.processes.values()
            for command in commands:
                etcdctl(cluster, process, *command.split())
            url = cluster.new_peer_url()
            for call in (
                lambda client=process.client, url=url: client.member_add(url, learner=True, timeout=15),
                lambda client=process.client: client.member_remove(1, timeout=15),
            ):
                assert reason(call) is expected


def etcdctl(cluster: EtcdCluster, process: EtcdProcess, *arguments: str) -> None:
    files = {}
    if cluster.credentials is not None:
        files = {
            "cacert": cluster.credentials.ca_pem,
            "cert": cluster.credentials.certificate_pem,
            "key": cluster.credentials.key.reveal(),
        }
    for flag, content in files.items():
        (cluster.directory / flag).write_bytes(content)
    flags = [f"--{flag}={cluster.directory / flag}" for flag in files]
    command = [str(etcd_binaries(cluster.version) / "etcdctl"), f"--endpoints={process.client_url}", *flags]
    subprocess.run([*command, *arguments], check=True, capture_output=True, timeout=60)
