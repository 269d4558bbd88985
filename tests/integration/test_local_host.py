"""Hosts that are directories, with real etcd and kube-apiserver: what is written, started, seen, stopped and called."""

import contextlib
import itertools
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdplan.diff.target import MemberTarget, Target, build_target
from etcdplan.hosts.ports import Claim, EtcdReport, Fenced, HostRefused, HostUnreachable
from etcdplan.hosts.processes import identify, wait_until
from etcdplan.hosts.supervisor import SupervisedUnit
from etcdplan.lab.apiserver_binary import kube_apiserver
from etcdplan.lab.binaries import etcd_binaries
from etcdplan.lab.create import create
from etcdplan.lab.directory import LabDirectory
from etcdplan.lab.processes import break_member, destroy
from etcdplan.model.identity import bootstrap_ids, member_id
from etcdplan.model.state import ETCD, Data, Settings
from etcdplan.pki.authority import Authority, LeafRequest, subject_alt_names
from etcdplan.pki.keyfile import read_key
from etcdplan.pki.leaf import trust_spkis
from etcdplan.spec.load import load_spec
from etcdplan.transport.errors import EtcdRejected, Reason
from etcdplan.transport.etcd import Credentials
from etcdplan.transport.local import LocalHost, LocalHosts

pytestmark = pytest.mark.host

VERSIONS = ("3.4.23", "3.5.35", "3.6.16", "3.7.3")
TOKEN = 3


class Bench:
    """A lab, and the hands to run a cluster in it without planning."""

    def __init__(self, lab: LabDirectory) -> None:
        self.lab = lab
        self.authority = Authority((lab.pki / "etcd-ca.crt").read_bytes(), read_key(lab.pki / "etcd-ca.key"))
        self.target: Target = build_target(
            load_spec(lab.spec).spec, ca=trust_spkis(self.authority.certificate_pem)[0]
        )
        operator = (lab.pki / "operator.crt").read_bytes(), read_key(lab.pki / "operator.key")
        credentials = Credentials(self.authority.certificate_pem, *operator)
        self.hosts = LocalHosts(lab.hosts, versions=lab.versions, credentials=credentials)
        self.members = list(self.target.members.values())
        for root in lab.host_roots():
            self.hosts.host(root.name).store.write("lock.json", json.dumps({"token": TOKEN}).encode())
        self._numbers = itertools.count()

    def claim(self) -> Claim:
        return Claim(TOKEN, f"effect-{next(self._numbers)}")

    def host(self, member: MemberTarget) -> LocalHost:
        return self.hosts.host(member.host)

    def settings(self, member: MemberTarget, initial_cluster: str, state: str = "new") -> Settings:
        return {
            **member.settings,
            "initial-advertise-peer-urls": member.peer_url,
            "initial-cluster": initial_cluster,
            "initial-cluster-state": state,
            "initial-cluster-token": self.target.token,
        }

    def prepare(self, member: MemberTarget, initial_cluster: str, state: str = "new") -> LocalHost:
        """Put certificates and settings on a member's host."""
        host = self.host(member)
        host.effects.install_trust(self.claim(), self.authority.certificate_pem)
        for leaf in member.leafs:
            names = LeafRequest(leaf.common_name, *subject_alt_names(leaf.sans), server=True, client=True)
            request = host.effects.make_leaf_key(self.claim(), leaf.name)
            certificate = self.authority.sign(request, names, now=datetime.now(UTC), days=1)
            host.effects.install_leaf(self.claim(), leaf.name, certificate)
        host.effects.write_settings(self.claim(), ETCD, self.settings(member, initial_cluster, state))
        return host

    def found(self) -> None:
        """Start all members."""
        for member in self.members:
            self.prepare(member, self.target.initial_cluster).effects.start(self.claim(), ETCD)

    def report(self, member: MemberTarget) -> EtcdReport:
        """Return what a member says once it serves."""
        reports: list[EtcdReport] = []

        def serves() -> bool:
            report = self.host(member).ask_etcd(member.client_url, timeout=2)
            reports.extend([report] if report and report.serves else [])
            return bool(reports)

        assert wait_until(serves, timeout=30), self.log(member)
        return reports[-1]

    def log(self, member: MemberTarget) -> str:
        return SupervisedUnit(self.lab.hosts / member.host, "etcd").log.read_text()[-3000:]

    def data(self, member: MemberTarget) -> Data | None:
        return self.host(member).inspect(timeout=5).data.get()


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    monkeypatch.setenv("ETCDPLAN_LAB_HOME", str(tmp_path / "labs"))
    benches: list[Bench] = []

    def make(members: int = 1, version: str = "3.6.16", **more: object) -> Bench:
        lab = create("demo", members=members, version=version, etcd_dir=etcd_binaries(version), **more)
        benches.append(Bench(lab))
        return benches[-1]

    yield make
    for bench in benches:
        bench.hosts.close()
        destroy(bench.lab)


@pytest.mark.parametrize("version", VERSIONS)
def test_one_member_from_nothing_to_set_aside(lab: Callable[..., Bench], version: str) -> None:
    bench = lab(version=version)
    (member,) = bench.members
    assert bench.data(member) is None
    host = bench.prepare(member, bench.target.initial_cluster)
    host.effects.start(bench.claim(), ETCD)
    report = bench.report(member)
    ids = bootstrap_ids(bench.settings(member, bench.target.initial_cluster))
    own_id = ids[1][member.peer_url]
    assert (report.cluster_id, report.member_id, report.leader_id) == (ids[0], own_id, own_id)
    assert (report.version, report.confirmed, report.is_learner, report.errors) == (version, True, False, ())
    assert [(m.id, m.name, m.peer_urls, m.client_urls) for m in report.members] == [
        (own_id, member.name, (member.peer_url,), (member.client_url,))
    ]

    seen = host.inspect(timeout=5)
    assert seen.data.get() == Data(ids[0], own_id)
    process = seen.etcd.process.get()
    assert process is not None
    assert process.version == version
    assert (
        process.settings == seen.etcd.settings.get() == bench.settings(member, bench.target.initial_cluster)
    )
    assert set(seen.leafs) == {"server", "peer"}
    assert all(leaf.get().key_matches for leaf in seen.leafs.values())  # type: ignore[union-attr]

    host.effects.stop(bench.claim(), ETCD)
    seen = host.inspect(timeout=5)
    assert seen.etcd.process.get() is None
    assert seen.data.get() == Data(ids[0], own_id), "seen with the process down, too"
    assert host.ask_etcd(member.client_url, timeout=1) is None

    host.effects.set_data_aside(bench.claim())
    assert bench.data(member) is None
    host.effects.start(bench.claim(), ETCD)
    assert bench.report(member).member_id == own_id, "etcd founded the same cluster anew"
    assert (
        len(list((bench.lab.hosts / member.host / "var/lib/etcd").glob("set-aside-*/member/wal/*.wal"))) >= 1
    )


def test_a_separate_log_directory(lab: Callable[..., Bench]) -> None:
    bench = lab()
    (member,) = bench.members
    host = bench.prepare(member, bench.target.initial_cluster)
    settings = {**bench.settings(member, bench.target.initial_cluster), "wal-dir": "/var/wal"}
    host.effects.write_settings(bench.claim(), ETCD, settings)
    host.effects.start(bench.claim(), ETCD)
    identity = Data(bench.report(member).cluster_id, bench.report(member).member_id)
    assert bench.data(member) == identity
    host.effects.stop(bench.claim(), ETCD)
    host.effects.set_data_aside(bench.claim())
    assert bench.data(member) is None
    host.effects.start(bench.claim(), ETCD)
    bench.report(member)
    kept = list((bench.lab.hosts / member.host / "var").glob("wal.set-aside-*/*.wal"))
    assert kept, "etcd has not removed what was set aside"


def test_a_process_that_hangs_is_stopped_and_held(lab: Callable[..., Bench]) -> None:
    bench = lab()
    (member,) = bench.members
    bench.found()
    bench.report(member)
    assert "SIGSTOP" in break_member(bench.lab, "member1", "hang")
    host = bench.host(member)
    assert host.inspect(timeout=5).etcd.process.get() is not None
    assert host.ask_etcd(member.client_url, timeout=1) is None
    began = time.monotonic()
    host.effects.hold(bench.claim(), ETCD)
    assert time.monotonic() - began < 8
    unit = host.inspect(timeout=5).etcd
    assert (unit.held, unit.process.get()) == (True, None)
    host.effects.start(bench.claim(), ETCD)
    assert not host.inspect(timeout=5).etcd.held
    bench.report(member)


def test_wrong_flags_are_seen_as_failing(lab: Callable[..., Bench]) -> None:
    bench = lab()
    (member,) = bench.members
    host = bench.prepare(member, bench.target.initial_cluster)
    settings = bench.settings(member, bench.target.initial_cluster)
    host.effects.write_settings(bench.claim(), ETCD, {**settings, "no-such-flag": "1"})
    host.effects.start(bench.claim(), ETCD)
    assert wait_until(lambda: host.inspect(timeout=5).etcd.failing, timeout=15)
    assert "no-such-flag" in bench.log(member)
    host.effects.write_settings(bench.claim(), ETCD, settings)
    host.effects.start(bench.claim(), ETCD)
    bench.report(member)


def test_somebody_elses_etcd_on_the_port_is_told(lab: Callable[..., Bench], tmp_path: Path) -> None:
    bench = lab()
    (member,) = bench.members
    host = bench.prepare(member, bench.target.initial_cluster)
    url = member.client_url.replace("https", "http")
    flags = [f"--data-dir={tmp_path}/other", f"--listen-client-urls={url}", f"--advertise-client-urls={url}"]
    flags += [f"--listen-peer-urls=http://{member.host}:2390"]
    with subprocess.Popen(
        [etcd_binaries("3.6.16") / "etcd", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as other:
        try:

            def listens() -> bool:
                with contextlib.suppress(OSError), socket.create_connection((member.host, 2379), timeout=1):
                    return True
                return False

            assert wait_until(listens, timeout=60)
            with pytest.raises(HostRefused, match=r"2379 on .* is taken by another process"):
                host.effects.start(bench.claim(), ETCD)
            assert host.inspect(timeout=5).etcd.process.get() is None
        finally:
            other.kill()
    host.effects.start(bench.claim(), ETCD)
    bench.report(member)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_member_is_replaced_by_effects_alone(lab: Callable[..., Bench], version: str) -> None:
    """Disk lost; removed, added as a learner on a spare host, promoted; leadership moved; fencing on the way."""
    bench = lab(members=3, version=version)
    bench.found()
    first, broken, third = bench.members
    for member in bench.members:
        bench.report(member)
    leader = next(m for m in bench.members if bench.report(m).member_id == bench.report(m).leader_id)
    other = next(m for m in bench.members if m is not leader)
    bench.host(leader).effects.move_leader(bench.claim(), leader.client_url, bench.report(other).member_id)
    assert wait_until(lambda: bench.report(other).leader_id == bench.report(other).member_id, timeout=10)

    lost = bench.report(broken).member_id
    assert bench.data(broken) == Data(bench.target.founding_id, lost)
    assert "removed its data" in break_member(bench.lab, broken.name)
    seen = bench.host(broken).inspect(timeout=5)
    assert (seen.data.get(), seen.etcd.process.get()) == (None, None)
    assert wait_until(lambda: bench.report(first).leader_id not in (0, lost), timeout=15)

    effects = bench.host(first).effects
    bench.host(first).store.write("lock.json", json.dumps({"token": TOKEN + 1}).encode())
    with pytest.raises(Fenced):
        effects.member_remove(bench.claim(), first.client_url, lost)
    assert len(bench.report(first).members) == 3
    bench.host(first).store.write("lock.json", json.dumps({"token": TOKEN}).encode())
    removal = bench.claim()
    effects.member_remove(removal, first.client_url, lost)
    with pytest.raises(HostRefused, match="already claimed"):
        effects.member_remove(removal, first.client_url, lost)
    with pytest.raises(EtcdRejected) as gone:
        effects.member_remove(bench.claim(), first.client_url, lost)
    assert gone.value.reason is Reason.MEMBER_NOT_FOUND

    address = f"{bench.lab.file().network}.4"
    spare = _moved(broken, address)
    # A cluster takes a newcomer only when all members have been connected for five seconds.
    assert accepted(lambda: effects.member_add(bench.claim(), first.client_url, spare.peer_url))
    (added,) = [m for m in bench.report(first).members if spare.peer_url in m.peer_urls]
    assert (added.is_learner, added.name) == (True, "")
    everyone = ",".join(f"{m.name}={m.peer_url}" for m in (first, third, spare))
    host = bench.prepare(spare, everyone, "existing")
    host.effects.start(bench.claim(), ETCD)

    def learning() -> bool:
        report = host.ask_etcd(spare.client_url, timeout=2)
        return report is not None and report.is_learner and not report.serves and report.members == ()

    assert wait_until(learning, timeout=30), bench.log(spare)
    assert accepted(lambda: effects.member_promote(bench.claim(), first.client_url, added.id))
    assert bench.report(spare).member_id == added.id
    assert bench.data(spare) == Data(bench.target.founding_id, added.id)
    assert added.id != member_id([spare.peer_url], bench.target.token), "its ID was the server's choice"


def accepted(call: Callable[[], None]) -> bool:
    """Repeat a call until the server finds the cluster and the learner ready for it."""

    def once() -> bool:
        try:
            call()
        except EtcdRejected as error:
            assert error.reason in (Reason.LEARNER_NOT_READY, Reason.UNHEALTHY_CLUSTER)
            return False
        return True

    return wait_until(once, timeout=30)


def _moved(member: MemberTarget, address: str) -> MemberTarget:
    def move(text: str) -> str:
        return text.replace(f"{member.host}:", f"{address}:")

    return MemberTarget(
        member.name,
        address,
        move(member.peer_url),
        move(member.client_url),
        {flag: move(value) for flag, value in member.settings.items()},
        tuple(
            type(leaf)(leaf.name, leaf.common_name, (address, "localhost", "127.0.0.1"), leaf.usages)
            for leaf in member.leafs
        ),
    )


def test_without_quorum_a_member_gives_its_own_list(lab: Callable[..., Bench]) -> None:
    bench = lab(members=3)
    bench.found()
    first, second, third = bench.members
    for member in bench.members:
        bench.report(member)
    break_member(bench.lab, second.name, "kill")
    break_member(bench.lab, third.name, "host")
    with pytest.raises(HostUnreachable):
        bench.host(third).inspect(timeout=5)

    def alone() -> bool:
        report = bench.host(first).ask_etcd(first.client_url, timeout=2)
        return report is not None and not report.serves and not report.confirmed and report.leader_id == 0

    assert wait_until(alone, timeout=20)
    began = time.monotonic()
    report = bench.host(first).ask_etcd(first.client_url, timeout=2)
    assert time.monotonic() - began < 2.5
    assert report is not None
    assert {member.name for member in report.members} == {"member1", "member2", "member3"}
    assert any("no leader" in error for error in report.errors)


def test_a_kube_apiserver_is_started_and_becomes_ready(lab: Callable[..., Bench]) -> None:
    program = kube_apiserver(build=True)
    bench = lab(api_servers=1, kube_apiserver=program)
    (server,) = bench.target.api_servers.values()
    host = bench.hosts.host(server.host)
    bench.found()
    bench.report(bench.members[0])
    assert host.inspect(timeout=5).api_servers["cp1"].settings.get() is None
    host.effects.install_trust(bench.claim(), bench.authority.certificate_pem)
    (leaf,) = server.leafs
    request = host.effects.make_leaf_key(bench.claim(), leaf.name)
    names = LeafRequest(leaf.common_name, (), (), server=False, client=True)
    signed = bench.authority.sign(request, names, now=datetime.now(UTC), days=1)
    host.effects.install_leaf(bench.claim(), leaf.name, signed)
    settings = {**server.settings, "etcd-servers": bench.members[0].client_url}
    host.effects.write_settings(bench.claim(), server.unit, settings)
    host.effects.start(bench.claim(), server.unit)
    unit = SupervisedUnit(bench.lab.hosts / server.host, "apiserver-cp1")

    def ready() -> bool:
        process = host.inspect(timeout=5).api_servers["cp1"].process.get()
        assert process is not None, unit.log.read_text()[-3000:]
        assert process.settings == settings
        return process.answering

    assert wait_until(ready, timeout=60), unit.log.read_text()[-3000:]
    # It hangs: seen as running and not answering, within the deadline; and it can be stopped.
    running = unit.process()
    assert running is not None
    running.send(signal.SIGSTOP)
    assert wait_until(running.is_stopped, timeout=5)
    began = time.monotonic()
    process = host.inspect(timeout=5).api_servers["cp1"].process.get()
    assert time.monotonic() - began < 2.5
    assert process is not None
    assert not process.answering
    host.effects.stop(bench.claim(), server.unit)
    assert host.inspect(timeout=5).api_servers["cp1"].process.get() is None
    assert identify(running.pid) != running or not running.state()
