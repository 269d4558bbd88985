"""Hosts with real systemd: etcd from an archive and from Debian's package, real units and processes."""

import itertools
import json
import threading
import time
from collections.abc import Iterator

import pytest

from etcdplan.apply.holder import Holder
from etcdplan.apply.lock_file import LockRecord
from etcdplan.hosts.ports import Claim, HostOutcomeUnknown, HostRefused, HostReport, HostUnreachable
from etcdplan.hosts.processes import wait_until
from etcdplan.hosts.remote.host import RemoteHost
from etcdplan.hosts.remote.layout import Layout
from etcdplan.lab.binaries import etcd_binaries
from etcdplan.model.state import ETCD, Settings
from tests.bed import Bed, Host
from tests.support.bed_shell import BedShell
from tests.unit.hosts.remote.conftest import Members

pytestmark = pytest.mark.bed

TOKEN = 3
API_SERVER = """[Unit]
Description=stands for an API server
[Service]
EnvironmentFile=/etc/default/kube-apiserver
ExecStart=/usr/local/bin/kube-apiserver $KUBE_API_ARGS --secure-port=16443
"""


class Bench:
    """A host of the bed, and the hands to change it."""

    def __init__(self, host: Host) -> None:
        self.machine = host
        self.shell = BedShell(host)
        self.host = RemoteHost(self.shell, Members(), Layout(api_servers={"cp-1": ""}))
        self._numbers = itertools.count(1)
        holder = Holder("id", "runner", "user", 1, 2, "boot", "ns", "apply")
        self.host.store.write("lock.json", LockRecord(1, TOKEN, True, holder, "t", 0, "t").encode())

    def claim(self) -> Claim:
        return Claim(TOKEN, f"{time.monotonic_ns()}/{next(self._numbers)}")

    def settings(self, **more: str) -> Settings:
        address = self.machine.address
        return {
            "name": self.machine.name,
            "data-dir": "/var/lib/etcd/data",
            "listen-peer-urls": f"http://{address}:2380",
            "listen-client-urls": f"http://{address}:2379",
            "advertise-client-urls": f"http://{address}:2379",
            "initial-advertise-peer-urls": f"http://{address}:2380",
            "initial-cluster": f"{self.machine.name}=http://{address}:2380",
            "initial-cluster-state": "new",
            **more,
        }

    def report(self) -> HostReport:
        return self.host.inspect(timeout=10)

    def write(self, settings: Settings, unit: str = ETCD) -> None:
        self.host.effects.write_settings(self.claim(), unit, settings)

    def start(self, unit: str = ETCD) -> None:
        self.host.effects.start(self.claim(), unit)

    def stop(self) -> None:
        self.host.effects.stop(self.claim(), ETCD)

    def run(self, script: str) -> str:
        return self.machine.exec("sh", "-c", script, check=False).stdout.strip()

    def member(self) -> bool:
        """Whether data has come about."""
        return self.report().data.get() is not None


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, ...]]:
    with Bed(bare=1, debian=1) as bed:
        bed.host(1).put("/usr/local/bin/etcd", etcd_binaries("3.6.16") / "etcd", 0o755)
        bed.host(1).exec("sync")
        yield bed.hosts


@pytest.fixture(params=["archive", "debian"])
def bench(request: pytest.FixtureRequest, hosts: tuple[Host, ...]) -> Iterator[Bench]:
    """A host on which etcd does not run, and has no data."""
    host = hosts[0 if request.param == "archive" else 1]
    host.boot()
    bench = Bench(host)
    bench.stop()
    bench.host.effects.set_data_aside(bench.claim())
    yield bench
    bench.run("systemctl stop etcd; rm -rf /var/lib/etcd/data")


def test_a_member_from_nothing_to_held(bench: Bench) -> None:
    settings = bench.settings()
    bench.write(settings)
    bench.start()
    report = bench.report()
    process = report.etcd.process.get()
    assert process is not None
    assert report.etcd.settings.get() == process.settings == settings
    assert abs(process.started - time.time()) < 10
    assert wait_until(bench.member, timeout=20)
    with pytest.raises(HostRefused, match="still runs"):
        bench.host.effects.set_data_aside(bench.claim())
    bench.write(bench.settings(**{"snapshot-count": "5000"}))
    report = bench.report()
    assert report.etcd.settings.get() == bench.settings(**{"snapshot-count": "5000"})
    assert report.etcd.process.get().settings == settings  # type: ignore[union-attr]
    data = report.data.get()
    bench.stop()
    bench.start()
    assert wait_until(lambda: bench.report().etcd.process.get() is not None, timeout=10)
    report = bench.report()
    assert report.etcd.process.get().settings == bench.settings(**{"snapshot-count": "5000"})  # type: ignore[union-attr]
    assert report.data.get() == data
    bench.host.effects.hold(bench.claim(), ETCD)
    assert (
        bench.run("systemctl start etcd; systemctl is-active etcd; systemctl is-enabled etcd")
        == "inactive\ndisabled"
    )
    bench.host.effects.set_data_aside(bench.claim())
    report = bench.report()
    assert (report.etcd.held, report.etcd.process.get(), report.data.get()) == (True, None, None)


def test_a_held_host_stays_held_and_a_started_one_comes_back_after_a_power_cut(bench: Bench) -> None:
    bench.write(bench.settings())
    bench.start()
    assert wait_until(bench.member, timeout=20)
    boot = bench.report().boot_id
    assert boot
    bench.machine.power_cut()
    bench.machine.boot()
    assert wait_until(lambda: bench.report().etcd.process.value is not None, timeout=30)
    bench.host.effects.hold(bench.claim(), ETCD)
    bench.machine.power_cut()
    bench.machine.boot()
    assert wait_until(lambda: bench.run("systemctl is-system-running") in ("running", "degraded"), timeout=30)
    etcd = bench.report().etcd
    assert (etcd.held, etcd.process.get(), etcd.settings.get()) == (True, None, bench.settings())


def test_a_member_that_cannot_run_is_failing_until_something_changes(bench: Bench) -> None:
    bench.write(bench.settings(**{"quota-backend-bytes": "many"}))
    bench.start()
    assert wait_until(lambda: bench.report().etcd.failing, timeout=30)
    assert bench.report().etcd.process.get() is None
    bench.write(bench.settings())
    assert not bench.report().etcd.failing
    bench.start()
    assert wait_until(bench.member, timeout=20)


def test_a_start_does_not_wait_for_the_others(bench: Bench) -> None:
    """With Type=notify it is ready only when a majority runs."""
    bench.write(
        bench.settings(
            **{"initial-cluster": f"{bench.settings()['initial-cluster']},x=http://10.255.0.1:2380"}
        )
    )
    started = time.monotonic()
    bench.start()
    assert time.monotonic() - started < 8
    assert bench.run("systemctl is-active etcd") == "activating"
    assert bench.report().etcd.process.get() is not None
    started = time.monotonic()
    bench.stop()
    assert time.monotonic() - started < 20
    assert not bench.report().etcd.failing


def test_a_halted_member_is_hung_and_can_be_stopped(bench: Bench) -> None:
    bench.write(bench.settings())
    bench.start()
    assert wait_until(bench.member, timeout=20)
    bench.run("kill -STOP $(systemctl show -p MainPID --value etcd)")
    assert wait_until(lambda: bench.report().etcd.process.get().hung, timeout=5)  # type: ignore[union-attr]
    bench.stop()
    assert bench.report().etcd.process.get() is None


def test_looking_leaves_no_trace(bench: Bench) -> None:
    bench.write(bench.settings())
    bench.start()
    assert wait_until(bench.member, timeout=20)
    places = "/etc /usr /var/lib/etcdplan /root"
    look = f"find {places} -xdev -printf '%p %m %U %T@ %C@ %s\\n' | sort"
    state = "systemctl show etcd -p ActiveState,SubState,MainPID,NRestarts,UnitFileState,NeedDaemonReload"
    # etcd goes on for a while after its start.
    assert wait_until(lambda: bench.run("systemctl is-active etcd") == "active", timeout=20)
    assert wait_until(
        lambda: bench.run(f"{look} >/run/a; sleep 0.5; {look} | cmp - /run/a && echo y") == "y", timeout=20
    )
    before = bench.run(look), bench.run(state)
    requests = len(bench.shell.verbs)
    bench.report()
    assert bench.shell.verbs[requests:] == ["inspect"]
    after = bench.run(look), bench.run(state)
    assert set(after[0].split("\n")) ^ set(before[0].split("\n")) == set()
    assert after == before


def test_a_data_directory_that_is_a_mount_point(bench: Bench) -> None:
    bench.write(bench.settings(**{"data-dir": "/var/lib/etcd/disk"}))
    bench.machine.empty_disk("/var/lib/etcd/disk", 1024)
    free = bench.report().free_bytes
    assert free is not None and free < 1 << 30
    for _ in range(2):
        bench.start()
        assert wait_until(bench.member, timeout=20)
        bench.stop()
        bench.host.effects.set_data_aside(bench.claim())
        assert bench.report().data.get() is None
    assert bench.run("ls /var/lib/etcd/disk | grep -c set-aside-") == "2"
    assert bench.run("mountpoint -q /var/lib/etcd/disk && echo yes") == "yes"


def test_an_api_servers_flags_in_an_environment_file(bench: Bench) -> None:
    unit = "/etc/systemd/system/kube-apiserver.service"
    bench.machine.put(unit, API_SERVER)
    bench.machine.put("/usr/local/bin/kube-apiserver", "#!/bin/sh\nexec sleep 1000\n", 0o755)
    text = '# mine\nKUBE_API_ARGS="--v=2 \\\n  --etcd-servers=http://a:2379 \\\n  --x=y"\n'
    bench.machine.put("/etc/default/kube-apiserver", text)
    bench.write({"etcd-servers": "http://b:2379,http://c:2379"}, "apiserver/cp-1")
    changed = text.replace("http://a:2379", "http://b:2379,http://c:2379").strip()
    assert bench.run("cat /etc/default/kube-apiserver") == changed
    assert bench.run(f"cat {unit}") == API_SERVER.strip()
    bench.start("apiserver/cp-1")
    server = bench.report().api_servers["cp-1"]
    assert server.settings.get() == {"etcd-servers": "http://b:2379,http://c:2379"}
    assert bench.run("systemctl is-active kube-apiserver") == "active"
    bench.host.effects.hold(bench.claim(), "apiserver/cp-1")
    assert bench.report().api_servers["cp-1"].held
    bench.run(f"rm {unit} /etc/systemd/system/kube-apiserver.service.d/*; systemctl daemon-reload")


def test_a_power_cut_at_any_moment_leaves_whole_files(bench: Bench) -> None:
    store, contents = bench.host.store, [b"%d\n" % number * 20_000 for number in range(4)]
    store.write("record.json", contents[0])
    for number, content in enumerate(contents):
        claim, unknown = bench.claim(), threading.Event()

        def effect(
            claim: Claim = claim, content: bytes = content, unknown: threading.Event = unknown
        ) -> None:
            try:
                RemoteHost(BedShell(bench.machine), Members(), Layout()).effects._once.do(
                    claim, "record", "write", payload=content
                )
            except (HostOutcomeUnknown, HostRefused, HostUnreachable):
                unknown.set()

        thread = threading.Thread(target=effect)
        thread.start()
        time.sleep(0.03 * number)
        bench.machine.power_cut()
        bench.machine.boot()
        thread.join(timeout=90)
        assert not thread.is_alive()
        found = store.read("record.json")
        assert found in contents
        assert found == content or unknown.is_set()
        assert json.loads(store.read("lock.json") or b"")["token"] == TOKEN
