import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from etcdplan.model.server_rules import Rejection
from etcdplan.transport import etcd_pb2 as pb
from etcdplan.transport.errors import EtcdOutcomeUnknown, EtcdRejected, EtcdUnreachable, Reason
from etcdplan.transport.etcd import EtcdClient, ListedMember, MemberList
from etcdplan.transport.quiet_grpc import grpc
from tests.support.lost_reply import LostReplyProxy

from .fake_etcd import FakeEtcd, failing

PEER = "http://10.0.0.4:2380"
CODE = grpc.StatusCode

MUTATING: dict[str, Callable[[EtcdClient], object]] = {
    "MemberAdd": lambda client: client.member_add(PEER, learner=True, timeout=5),
    "MemberRemove": lambda client: client.member_remove(7, timeout=5),
    "MemberPromote": lambda client: client.member_promote(7, timeout=5),
    "MoveLeader": lambda client: client.move_leader(7, timeout=5),
}
READING: dict[str, Callable[[EtcdClient], object]] = {
    "Status": lambda client: client.status(timeout=5),
    "MemberList": lambda client: client.members(timeout=5),
    "Range": lambda client: client.linearizable_read(timeout=5),
}


def calls(table: dict[str, Callable[[EtcdClient], object]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("call", table.values(), ids=table.keys())


@pytest.fixture
def etcd() -> Iterator[FakeEtcd]:
    with FakeEtcd() as fake:
        yield fake


@pytest.fixture
def client(etcd: FakeEtcd) -> Iterator[EtcdClient]:
    with EtcdClient(etcd.url, None) as client:
        yield client


def test_requests_have_etcds_methods_and_field_numbers(etcd: FakeEtcd, client: EtcdClient) -> None:
    etcd.answer = lambda *_: pb.MemberAddReply(member=pb.Member(id=1)).SerializeToString()
    client.member_add("http://a:1", learner=True, timeout=5)
    client.member_add("http://a:1", learner=False, timeout=5)
    etcd.answer = lambda *_: b""
    client.member_remove(300, timeout=5)
    client.member_promote(2**64 - 1, timeout=5)
    client.move_leader(1, timeout=5)
    client.members(timeout=5)
    client.members(timeout=5, linearizable=False)
    client.linearizable_read(timeout=5)
    client.status(timeout=5)
    assert etcd.calls == [
        ("/etcdserverpb.Cluster/MemberAdd", b"\x0a\x0ahttp://a:1\x10\x01"),
        ("/etcdserverpb.Cluster/MemberAdd", b"\x0a\x0ahttp://a:1"),
        ("/etcdserverpb.Cluster/MemberRemove", b"\x08\xac\x02"),
        ("/etcdserverpb.Cluster/MemberPromote", b"\x08" + b"\xff" * 9 + b"\x01"),
        ("/etcdserverpb.Maintenance/MoveLeader", b"\x08\x01"),
        ("/etcdserverpb.Cluster/MemberList", b"\x08\x01"),
        ("/etcdserverpb.Cluster/MemberList", b""),
        ("/etcdserverpb.KV/Range", b"\x0a\x06health\x48\x01"),
        ("/etcdserverpb.Maintenance/Status", b""),
    ]


def test_confirmed_members_reads_through_quorum_first(etcd: FakeEtcd, client: EtcdClient) -> None:
    members = [
        pb.Member(id=2**63, name="a", peer_urls=["http://a:2380"], client_urls=["http://a:2379"]),
        pb.Member(id=5, peer_urls=["http://b:2380"], is_learner=True),
    ]
    reply = pb.MembersReply(header=pb.Header(cluster_id=9), members=members)
    etcd.answer = lambda *_: reply.SerializeToString() if "List" in etcd.calls[-1][0] else b""
    assert client.confirmed_members(timeout=5) == MemberList(
        9,
        (
            ListedMember(2**63, "a", ("http://a:2380",), ("http://a:2379",), False),
            ListedMember(5, "", ("http://b:2380",), (), True),
        ),
    )
    assert [method for method, _ in etcd.calls] == [
        "/etcdserverpb.KV/Range",
        "/etcdserverpb.Cluster/MemberList",
    ]


@pytest.mark.parametrize("code", [CODE.UNKNOWN, CODE.UNAVAILABLE, CODE.FAILED_PRECONDITION], ids=str)
@pytest.mark.parametrize(
    "reason", [reason for reason in Reason if reason is not Reason.UNIMPLEMENTED], ids=str
)
def test_a_definite_text_is_a_rejection_whatever_its_code(
    etcd: FakeEtcd, client: EtcdClient, reason: Reason, code: Any
) -> None:
    etcd.answer = failing(code, reason.value)
    for call in (*MUTATING.values(), *READING.values()):
        with pytest.raises(EtcdRejected) as caught:
            call(client)
        assert caught.value.reason is reason


def test_a_method_that_the_server_lacks_is_a_rejection(etcd: FakeEtcd, client: EtcdClient) -> None:
    etcd.answer = failing(CODE.UNIMPLEMENTED, "unknown method MemberPromote")
    with pytest.raises(EtcdRejected) as caught:
        client.member_promote(1, timeout=5)
    assert caught.value.reason is Reason.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (CODE.UNAVAILABLE, "etcdserver: request timed out"),
        (CODE.UNAVAILABLE, "etcdserver: request timed out, possibly due to previous leader failure"),
        (CODE.UNAVAILABLE, "etcdserver: no leader"),
        (CODE.UNAVAILABLE, "etcdserver: leader changed"),
        (CODE.UNAVAILABLE, "etcdserver: server stopped"),
        (CODE.UNKNOWN, "raft proposal dropped"),
        (CODE.UNKNOWN, "context deadline exceeded"),
        (CODE.UNKNOWN, "etcdserver: unhealthy cluster, or so"),
        (CODE.CANCELLED, "etcdserver: request canceled"),
        (CODE.DEADLINE_EXCEEDED, "etcdserver: context deadline exceeded"),
        (CODE.RESOURCE_EXHAUSTED, "etcdserver: too many requests"),
        (CODE.INTERNAL, ""),
        (CODE.UNAVAILABLE, "Socket closed"),
    ],
)
def test_any_other_failure_leaves_the_outcome_unknown(
    etcd: FakeEtcd, client: EtcdClient, code: Any, text: str
) -> None:
    etcd.answer = failing(code, text)
    for call in MUTATING.values():
        with pytest.raises(EtcdOutcomeUnknown) as unknown:
            call(client)
        assert unknown.value.exit_code == 7
    for call in READING.values():
        with pytest.raises(EtcdUnreachable) as unreachable:
            call(client)
        assert unreachable.value.exit_code == 8


def test_an_answer_that_makes_no_sense_leaves_the_outcome_unknown(etcd: FakeEtcd, client: EtcdClient) -> None:
    etcd.answer = lambda *_: b"\xff\xff"
    with pytest.raises(EtcdOutcomeUnknown):
        client.member_remove(1, timeout=5)
    with pytest.raises(EtcdUnreachable):
        client.status(timeout=5)


def test_a_failed_call_is_sent_once(etcd: FakeEtcd, client: EtcdClient) -> None:
    etcd.answer = failing(CODE.UNAVAILABLE, "etcdserver: request timed out")
    with pytest.raises(EtcdOutcomeUnknown):
        client.member_add(PEER, learner=False, timeout=5)
    assert len(etcd.calls) == 1


def test_the_deadline_holds(etcd: FakeEtcd, client: EtcdClient) -> None:
    release = threading.Event()
    etcd.answer = lambda *_: b"late" * release.wait(10)
    begin = time.monotonic()
    with pytest.raises(EtcdOutcomeUnknown, match="no answer in time"):
        client.member_remove(1, timeout=0.2)
    with pytest.raises(EtcdUnreachable, match="no answer in time"):
        client.status(timeout=0.2)
    assert time.monotonic() - begin < 2
    release.set()


@calls(MUTATING | READING)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "nowhere.invalid"])
def test_what_was_never_sent_is_unreachable_not_unknown(
    host: str, call: Callable[[EtcdClient], object]
) -> None:
    with EtcdClient(f"http://{host}:{free_port()}", None) as client:
        begin = time.monotonic()
        with pytest.raises(EtcdUnreachable):
            call(client)
        assert time.monotonic() - begin < 4


@calls(MUTATING)
def test_a_lost_reply_leaves_the_outcome_unknown_and_the_call_is_not_repeated(
    etcd: FakeEtcd, call: Callable[[EtcdClient], object]
) -> None:
    with (
        LostReplyProxy("127.0.0.1", etcd.port, quiet=0.1) as proxy,
        EtcdClient(f"http://127.0.0.1:{proxy.port}", None) as client,
    ):
        client.status(timeout=5)
        proxy.cut_replies()
        with pytest.raises(EtcdOutcomeUnknown) as caught:
            call(client)
        assert "no answer in time" not in caught.value.message, "the connection was cut, not the time up"
        assert proxy.cuts == 1
        # gRPC may give the next call or two to the connection that is going down.
        wait_until(lambda: answers(client))
    assert len([method for method, _ in etcd.calls if not method.endswith("Status")]) == 1


def test_a_silent_network_ends_at_the_deadline(etcd: FakeEtcd) -> None:
    with (
        LostReplyProxy("127.0.0.1", etcd.port) as proxy,
        EtcdClient(f"http://127.0.0.1:{proxy.port}", None) as client,
    ):
        client.status(timeout=5)
        proxy.blackhole()
        with pytest.raises(EtcdOutcomeUnknown, match="no answer in time"):
            client.member_remove(1, timeout=0.3)
        with pytest.raises(EtcdUnreachable, match="no answer in time"):
            client.status(timeout=0.3)
        assert len(etcd.calls) == 1
        proxy.hang_up()
        wait_until(lambda: answers(client))


def test_a_member_that_starts_is_seen_soon() -> None:
    port = free_port()
    with EtcdClient(f"http://127.0.0.1:{port}", None) as client:
        # Long enough for a back-off that grows to show.
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert not answers(client)
            time.sleep(0.02)
        with FakeEtcd(port=port):
            begin = time.monotonic()
            wait_until(lambda: answers(client))
            assert time.monotonic() - begin < 0.5


def test_each_client_has_a_connection_of_its_own(etcd: FakeEtcd, client: EtcdClient) -> None:
    callers = []

    def answer(_request: bytes, context: Any) -> bytes:
        callers.append(context.peer())
        return b""

    etcd.answer = answer
    with EtcdClient(etcd.url, None) as other:
        for each in (client, other, client):
            each.status(timeout=5)
    first, second, third = callers
    assert first == third != second


def test_closing_ends_a_call_under_way_and_may_be_repeated(etcd: FakeEtcd, client: EtcdClient) -> None:
    release, arrived, errors = threading.Event(), threading.Event(), list[Exception]()

    def answer(*_: object) -> bytes:
        arrived.set()
        release.wait(10)
        return b""

    def call() -> None:
        try:
            client.member_remove(1, timeout=60)
        except EtcdOutcomeUnknown as error:
            errors.append(error)

    etcd.answer = answer
    thread = threading.Thread(target=call)
    thread.start()
    assert arrived.wait(10)
    client.close()
    client.close()
    thread.join(5)
    release.set()
    assert len(errors) == 1


@pytest.mark.parametrize(
    "endpoint", ["", "10.0.0.1:2379", "http://10.0.0.1", "unix:///x:1", "http://h:99999", "http://[::1:2379"]
)
def test_what_is_no_client_url_is_said_to_be_none(endpoint: str) -> None:
    with pytest.raises(EtcdUnreachable, match="not a client URL"):
        EtcdClient(endpoint, None)


def test_proxies_of_the_environment_are_not_used(
    etcd: FakeEtcd, client: EtcdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    with EtcdClient(etcd.url.replace("127.0.0.1", "localhost"), None) as client:
        client.status(timeout=5)


SCRIPT = """
import os, subprocess, sys, threading, time
from etcdplan.transport.errors import EtcdUnreachable
assert "grpc" not in sys.modules
from etcdplan.pki.secret import Secret
from etcdplan.transport.etcd import Credentials, EtcdClient
port = int(sys.argv[1])
ours = {name for name in os.environ if name.startswith("GRPC_")}
assert ours == set(sys.argv[2:]), ours
garbage = Credentials(b"ca", b"certificate", Secret(b"key"))
clients = [EtcdClient(f"http://127.0.0.1:{port}", None), EtcdClient(f"https://127.0.0.1:{port}", garbage)]
def poll():
    while not done:
        for client in clients:
            try:
                client.status(timeout=1)
            except EtcdUnreachable:
                pass
done = False
threads = [threading.Thread(target=poll) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(5):
    subprocess.run(["true"], check=True, preexec_fn=lambda: None)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
done = True
for thread in threads:
    thread.join()
# The clients are left open on purpose.
"""


@pytest.mark.parametrize("mine", [{}, {"GRPC_VERBOSITY": "INFO"}], ids=["", "the user's setting"])
def test_a_process_stays_silent_and_ends(mine: dict[str, str]) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(free_port()), *mine]
    done = subprocess.run(command, capture_output=True, env=mine, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b""
    assert bool(done.stderr) is bool(mine)
    assert b"fork" not in done.stderr, "gRPC watches forks"


def test_every_rejection_of_the_model_is_known_here() -> None:
    texts = {reason.value for reason in Reason}
    not_definite = {Rejection.NO_QUORUM, Rejection.NO_LEADER}
    assert {rejection.value for rejection in set(Rejection) - not_definite} <= texts
    assert not {rejection.value for rejection in not_definite} & texts


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(client: EtcdClient) -> bool:
    with contextlib.suppress(EtcdUnreachable):
        client.status(timeout=1)
        return True
    return False


def wait_until(condition: Callable[[], bool], *, timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
