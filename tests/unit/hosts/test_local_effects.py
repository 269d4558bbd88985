"""Effects on a host of this machine: claimed once, fenced, and refused in plain words."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdplan.hosts.ports import Claim, Fenced, HostOutcomeUnknown, HostRefused, HostUnreachable, LeafFile
from etcdplan.hosts.processes import wait_until
from etcdplan.hosts.supervisor import SupervisedUnit
from etcdplan.model.facts import UnknownFact
from etcdplan.model.state import ETCD, Data
from etcdplan.pki.authority import LeafRequest, create_authority
from etcdplan.transport import local_effects, local_store
from etcdplan.transport.errors import EtcdUnreachable
from etcdplan.transport.local import LocalHost, LocalHosts

ADDRESS = "127.0.0.1"
FOREVER = "#!/bin/sh\nwhile :; do sleep 0.05; done\n"


@pytest.fixture
def host(root: Path) -> Iterator[LocalHost]:
    """A host with a lock of token 7, an etcd that does nothing, and an API server cp1 that does the same."""
    hosts = LocalHosts(root.parent, versions={os.path.realpath("/bin/sh"): "3.6.16"}, credentials=None)
    for name in ("etcd", "kube-apiserver"):
        program = root / "usr/local/bin" / name
        program.write_text(FOREVER)
        program.chmod(0o755)
    (root / "etc/etcdplan/apiserver-cp1.base").write_text(
        "# made by the lab\n--bind-address=127.0.0.1\n--secure-port=1\n--cert-dir=/var/run\n--etcd-prefix=/x\n"
    )
    host = hosts.host(ADDRESS)
    host.store.write("lock.json", json.dumps({"token": 7}).encode())
    yield host
    for name in ("etcd", "apiserver-cp1"):
        SupervisedUnit(root, name).stop()
    hosts.close()


@pytest.fixture
def claim() -> Callable[[], Claim]:
    numbers = iter(range(1000))
    return lambda: Claim(7, f"step/{next(numbers)}")


@pytest.fixture
def port() -> int:
    with socket.create_server((ADDRESS, 0)) as server:
        return int(server.getsockname()[1])


def etcd_settings(port: int, **more: str) -> dict[str, str]:
    return {
        "name": "member1",
        "data-dir": "/var/lib/etcd",
        "listen-client-urls": f"http://{ADDRESS}:{port}",
        **more,
    }


def test_settings_on_disk_and_of_the_process(host: LocalHost, claim: Callable[[], Claim], port: int) -> None:
    before = host.inspect(timeout=5).etcd
    assert (before.settings.get(), before.process.get()) == (None, None)
    host.effects.write_settings(claim(), ETCD, etcd_settings(port))
    host.effects.start(claim(), ETCD)
    host.effects.write_settings(claim(), ETCD, etcd_settings(port, **{"snapshot-count": "5"}))
    unit = host.inspect(timeout=5).etcd
    assert unit.settings.get() == etcd_settings(port, **{"snapshot-count": "5"})
    process = unit.process.get()
    assert process is not None
    assert {**process.settings} == etcd_settings(port)
    assert (process.answering, process.hung, process.version) == (False, False, "3.6.16")
    assert abs(process.started - time.time()) < 10
    host.effects.stop(claim(), ETCD)
    assert host.inspect(timeout=5).etcd.process.get() is None


def test_api_server_flags_stand_beside_a_base(
    host: LocalHost, claim: Callable[[], Claim], root: Path
) -> None:
    assert host.inspect(timeout=5).api_servers["cp1"].settings.get() is None
    unit = "apiserver/cp1"
    with pytest.raises(HostRefused, match="no settings"):
        host.effects.start(claim(), unit)
    with pytest.raises(HostRefused, match="not about etcd"):
        host.effects.write_settings(claim(), unit, {"secure-port": "1"})
    settings = {"etcd-servers": "http://127.0.0.1:1", "etcd-cafile": "/etc/etcdplan/pki/ca.crt"}
    host.effects.write_settings(claim(), unit, settings)
    (root / "etc/etcdplan/apiserver-cp1.base").write_text(
        "--secure-port=65001\n--cert-dir=/var/run\n--etcd-prefix=/x\n"
    )
    host.effects.start(claim(), unit)
    found = host.inspect(timeout=5).api_servers["cp1"]
    assert found.settings.get() == settings
    process = found.process.get()
    assert process is not None
    assert process.settings == settings
    assert not process.answering
    running = SupervisedUnit(root, "apiserver-cp1").process()
    assert running is not None
    assert f"--cert-dir={root}/var/run" in running.argv()
    assert "--secure-port=65001" in running.argv()


def test_an_api_server_without_its_base_is_not_started(host: LocalHost, claim: Callable[[], Claim]) -> None:
    host.effects.write_settings(claim(), "apiserver/cp2", {"etcd-servers": "http://127.0.0.1:1"})
    with pytest.raises(HostRefused, match="cannot be started") as refused:
        host.effects.start(claim(), "apiserver/cp2")
    assert "lab up" in refused.value.hint
    assert set(host.inspect(timeout=5).api_servers) == {"cp1", "cp2"}


@pytest.mark.parametrize(
    "unit", ["apiserver/../etcd", "apiserver/", "apiserver/a/b", "apiserver/A", "kubelet"]
)
def test_units_that_there_are_not(host: LocalHost, claim: Callable[[], Claim], unit: str) -> None:
    with pytest.raises(HostRefused, match="no unit"):
        host.effects.write_settings(claim(), unit, {})


def test_hand_made_nonsense_is_unknown_and_starts_nothing(
    host: LocalHost, claim: Callable[[], Claim], root: Path
) -> None:
    (root / "etc/etcdplan/etcd.flags").write_text("ETCD_NAME=member1\n")
    report = host.inspect(timeout=5)
    with pytest.raises(UnknownFact, match="not a list of flags"):
        report.etcd.settings.get()
    with pytest.raises(UnknownFact, match="not a list of flags"):
        report.data.get()
    with pytest.raises(HostRefused, match="cannot be started"):
        host.effects.start(claim(), ETCD)
    with pytest.raises(HostRefused, match="cannot be read"):
        host.effects.set_data_aside(claim())


def test_a_port_that_is_taken_is_told_and_nothing_is_started(
    host: LocalHost, claim: Callable[[], Claim], root: Path
) -> None:
    with socket.create_server((ADDRESS, 0)) as server:
        port = server.getsockname()[1]
        host.effects.write_settings(claim(), ETCD, etcd_settings(port))
        host.effects.hold(claim(), ETCD)
        with pytest.raises(
            HostRefused, match=f"Port {port} on {ADDRESS} is taken by another process"
        ) as refused:
            host.effects.start(claim(), ETCD)
        assert str(port) in refused.value.hint
        unit = host.inspect(timeout=5).etcd
        assert (unit.held, unit.process.get()) == (True, None)
        assert not (root / "var/log/etcd.log").exists()
    host.effects.start(claim(), ETCD)
    assert host.inspect(timeout=5).etcd.process.get() is not None


def test_an_address_of_another_machine_is_told(host: LocalHost, claim: Callable[[], Claim]) -> None:
    host.effects.write_settings(claim(), ETCD, {"listen-peer-urls": "http://192.0.2.1:2380"})
    with pytest.raises(HostRefused, match=r"Port 2380 on 192\.0\.2\.1 is no address of this machine"):
        host.effects.start(claim(), ETCD)


def test_hold_and_start(host: LocalHost, claim: Callable[[], Claim], port: int) -> None:
    host.effects.write_settings(claim(), ETCD, etcd_settings(port))
    host.effects.start(claim(), ETCD)
    host.effects.hold(claim(), ETCD)
    unit = host.inspect(timeout=5).etcd
    assert (unit.held, unit.process.get()) == (True, None)
    host.effects.start(claim(), ETCD)
    unit = host.inspect(timeout=5).etcd
    assert unit.held is False
    assert unit.process.get() is not None
    with pytest.raises(HostRefused, match="runs already"):
        host.effects.start(claim(), ETCD)


def test_a_crash_loop_is_seen(host: LocalHost, claim: Callable[[], Claim], port: int, root: Path) -> None:
    (root / "usr/local/bin/etcd").write_text("#!/bin/sh\nexit 2\n")
    host.effects.write_settings(claim(), ETCD, etcd_settings(port))
    host.effects.start(claim(), ETCD)
    assert wait_until(lambda: host.inspect(timeout=5).etcd.failing, timeout=10)
    host.effects.hold(claim(), ETCD)
    assert host.inspect(timeout=5).etcd.failing
    host.effects.write_settings(claim(), ETCD, etcd_settings(port, **{"snapshot-count": "5"}))
    assert not host.inspect(timeout=5).etcd.failing


def test_new_certificates_wipe_the_mark_of_failure_away(
    host: LocalHost, claim: Callable[[], Claim], root: Path
) -> None:
    """Source: the model's effects."""
    failed = root / "run/etcdplan/etcd.failed"
    failed.touch()
    host.effects.install_trust(claim(), b"bundle")
    assert not failed.exists()
    failed.touch()
    authority = create_authority("ca", now=datetime.now(UTC))
    request = host.effects.make_leaf_key(claim(), "peer")
    names = LeafRequest("m1", ("localhost",), (), server=True, client=True)
    certificate = authority.sign(request, names, now=datetime.now(UTC), days=1)
    host.effects.install_leaf(claim(), "peer", certificate)
    assert not failed.exists()
    assert host.inspect(timeout=5).leafs["peer"].get() == LeafFile(certificate, key_matches=True)


def test_data_is_set_aside_only_when_etcd_is_stopped(
    host: LocalHost, claim: Callable[[], Claim], port: int, root: Path
) -> None:
    data = root / "data"
    host.effects.write_settings(claim(), ETCD, etcd_settings(port, **{"data-dir": "/data"}))
    (data / "member/wal").mkdir(parents=True)
    (data / "member/wal/0.wal").write_bytes(b"damaged")
    found = host.inspect(timeout=5).data.get()
    assert isinstance(found, Data)
    assert found.foreign
    host.effects.start(claim(), ETCD)
    with pytest.raises(HostRefused, match="still runs"):
        host.effects.set_data_aside(claim())
    host.effects.stop(claim(), ETCD)
    host.effects.set_data_aside(claim())
    assert host.inspect(timeout=5).data.get() is None
    assert len(list(data.glob("set-aside-*/member/wal/0.wal"))) == 1


def test_without_settings_the_usual_data_directory_is_looked_at(host: LocalHost, root: Path) -> None:
    (root / "var/lib/etcd").mkdir()
    (root / "var/lib/etcd/photos").mkdir()
    found = host.inspect(timeout=5).data.get()
    assert found is not None
    assert "photos" in found.foreign


def test_files_of_the_cluster(host: LocalHost, claim: Callable[[], Claim], root: Path) -> None:
    host.effects.install_trust(claim(), b"bundle")
    host.effects.write_record(claim(), b"record")
    report = host.inspect(timeout=5)
    assert (report.trust.get(), report.record.get()) == (b"bundle", b"record")
    assert (root / "etc/etcdplan/pki/ca.crt").read_bytes() == b"bundle"
    assert report.free_bytes is not None
    assert report.free_bytes > 0
    host.effects.forget_record(claim())
    host.effects.forget_record(claim())
    assert host.inspect(timeout=5).record.get() is None


@pytest.mark.parametrize(
    "lock", [None, b"", b"[]", b"{}", b'{"token": 8}', b'{"token": "7"}', b'{"token": null}']
)
def test_a_token_that_is_not_the_newest_is_fenced(
    host: LocalHost, claim: Callable[[], Claim], lock: bytes | None
) -> None:
    host.store.remove("lock.json")
    if lock is not None:
        host.store.write("lock.json", lock)
    with pytest.raises(Fenced) as fenced:
        host.effects.write_record(claim(), b"x")
    readable = lock is not None and (b"7" in lock or b"8" in lock)
    assert (f"remove {host.store.directory}/lock.json" in (fenced.value.hint or "")) is not readable
    assert host.inspect(timeout=5).record.get() is None
    assert host.store.names("effects") == ()


def test_an_effect_is_claimed_once(host: LocalHost) -> None:
    claim = Claim(7, "member/127.0.0.1:2380 start#1")
    host.effects.write_record(claim, b"one")
    with pytest.raises(HostRefused, match="already claimed"):
        host.effects.write_record(claim, b"two")
    assert host.inspect(timeout=5).record.get() == b"one"
    (name,) = host.store.names("effects")
    content = host.store.read(f"effects/{name}")
    assert content is not None
    assert [json.loads(line) for line in content.splitlines()] == [
        {"effect": "write the record", "token": 7},
        {"result": "done"},
    ]


def test_a_failed_effect_is_claimed_too(host: LocalHost, root: Path) -> None:
    (root / "etc/etcdplan").chmod(0o700)
    claim = Claim(7, "x")
    with pytest.raises(HostRefused):
        host.effects.start(claim, ETCD)
    with pytest.raises(HostRefused, match="already claimed"):
        host.effects.start(claim, ETCD)
    content = host.store.read("effects/x")
    assert content is not None
    assert json.loads(content.splitlines()[1])["result"].startswith("refused: ")


def test_old_claims_are_pruned(
    host: LocalHost, claim: Callable[[], Claim], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_effects, "_KEPT_EFFECTS", 5)
    for _ in range(12):
        host.effects.write_record(claim(), b"x")
    assert host.store.names("effects") == tuple(sorted(f"step%2F{number}" for number in range(7, 12)))


def test_effects_wait_for_the_guard(
    host: LocalHost, claim: Callable[[], Claim], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_effects, "_GUARD_TIMEOUT", 0.2)
    with host.store.exclusive(timeout=1), pytest.raises(HostRefused, match="busy"):
        host.effects.write_record(claim(), b"x")
    host.effects.write_record(claim(), b"x")


def test_a_full_disk_is_told_and_changes_nothing(
    host: LocalHost, claim: Callable[[], Claim], monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    host.effects.install_trust(claim(), b"before")
    write = local_effects.write_atomically

    def full(path: Path, _: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(local_effects, "write_atomically", full)
    with pytest.raises(HostRefused, match=r"its disk is full.*ca\.crt") as refused:
        host.effects.install_trust(claim(), b"after")
    assert refused.value.hint
    monkeypatch.setattr(local_effects, "write_atomically", write)
    assert host.inspect(timeout=5).trust.get() == b"before"


def test_a_host_that_vanishes_under_an_effect_leaves_it_unknown(
    host: LocalHost, claim: Callable[[], Claim], monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    def vanish(path: Path, _: bytes) -> None:
        root.rename(root.with_name("gone"))
        raise FileNotFoundError(2, "No such file", str(path))

    monkeypatch.setattr(local_effects, "write_atomically", vanish)
    with pytest.raises(HostOutcomeUnknown, match="vanished"):
        host.effects.install_trust(claim(), b"x")
    with pytest.raises(HostUnreachable):
        host.effects.install_trust(claim(), b"x")


def test_a_call_holds_the_guard_and_is_claimed(
    host: LocalHost, claim: Callable[[], Claim], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Client:
        def member_remove(self, member_id: int, *, timeout: float) -> None:
            assert (member_id, timeout) == (5, local_effects._RPC_TIMEOUT)
            with pytest.raises(HostRefused, match="busy"), host.store.exclusive(timeout=0.1):
                pass

    monkeypatch.setattr(host.effects.clients, "at", lambda url: Client())
    removal = claim()
    host.effects.member_remove(removal, "http://127.0.0.1:2379", 5)
    with pytest.raises(HostRefused, match="already claimed"):
        host.effects.member_remove(removal, "http://127.0.0.1:2379", 5)


def test_a_call_that_reaches_nobody_is_a_definite_failure(
    host: LocalHost, claim: Callable[[], Claim], port: int
) -> None:
    with pytest.raises(EtcdUnreachable):
        host.effects.member_add(claim(), f"http://{ADDRESS}:{port}", "http://127.0.0.2:2380")
    assert host.ask_etcd(f"http://{ADDRESS}:{port}", timeout=1) is None
    assert host.ask_etcd("nonsense", timeout=1) is None


@pytest.mark.parametrize("address", ["10.0.0.1", "..", ".", "", "../hosts/127.0.0.1", "a/b", "::1"])
def test_other_addresses_are_hosts_that_do_not_answer(host: LocalHost, root: Path, address: str) -> None:
    other = LocalHosts(root.parent, versions={}, credentials=None).host(address)
    assert other.address == address
    with pytest.raises(HostUnreachable):
        other.inspect(timeout=1)
    with pytest.raises(HostUnreachable):
        other.effects.write_record(Claim(7, "x"), b"")


def test_a_host_that_vanishes_while_it_is_looked_at_is_not_an_empty_one(
    host: LocalHost, claim: Callable[[], Claim], monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    host.effects.write_record(claim(), b"x")
    check_there = local_store.LocalStore.check_there
    calls = []

    def vanish(store: local_store.LocalStore) -> None:
        check_there(store)
        if not calls:
            calls.append(1)
            root.rename(root.with_name("gone"))

    monkeypatch.setattr(local_store.LocalStore, "check_there", vanish)
    with pytest.raises(HostUnreachable):
        host.inspect(timeout=5)
