"""Changing a systemd host: settings, starting, stopping, holding, and data."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from etcdplan.errors import EtcdplanError
from etcdplan.hosts.ports import HostRefused
from etcdplan.hosts.processes import wait_until
from etcdplan.hosts.remote import effects as effects_module
from etcdplan.hosts.remote.host import RemoteHost
from etcdplan.hosts.remote.layout import Layout
from etcdplan.model.state import ETCD, Data
from tests.unit.hosts.remote.conftest import SETTINGS, Bench
from tests.unit.hosts.remote.units import DEBIAN
from tests.unit.hosts.test_data_dir import segment

UNIT = "etc/systemd/system/etcd.service"
API = "etc/systemd/system/kube-apiserver-cp-1.service"


def write(bench: Bench, settings: dict[str, str] | None = None, unit: str = ETCD) -> None:
    bench.host.effects.write_settings(bench.claim(), unit, settings or SETTINGS)


def start(bench: Bench, unit: str = ETCD) -> None:
    bench.host.effects.start(bench.claim(), unit)


def data(bench: Bench, directory: str = "var/lib/etcd", wal: str = "member/wal") -> Path:
    log = bench.root / directory / wal / "0000000000000000-0000000000000000.wal"
    log.parent.mkdir(parents=True)
    log.write_bytes(segment(0xC, 0xA))
    return log


def test_a_host_without_etcd_gets_our_unit(bench: Bench) -> None:
    write(bench)
    unit = bench.root / UNIT
    assert unit.stat().st_mode & 0o777 == 0o644
    assert (bench.root / "etc/systemd").stat().st_mode & 0o777 == 0o755
    assert bench.log() == ["daemon-reload"]
    assert bench.etcd().settings.get() == SETTINGS
    assert bench.etcd().process.get() is None
    write(bench, {**SETTINGS, "name": "b"})
    assert bench.etcd().settings.get() == {**SETTINGS, "name": "b"}


def test_debians_package_is_changed_in_its_own_file(bench: Bench) -> None:
    bench.file("lib/systemd/system/etcd.service", DEBIAN.replace("/usr/bin", "/usr/local/bin"))
    file = bench.file("etc/default/etcd", "# mine\nGOGC=50\n")
    file.chmod(0o640)
    write(bench)
    assert file.read_text().startswith("# mine\nGOGC=50\nETCD_NAME=a\n")
    assert file.stat().st_mode & 0o777 == 0o640
    assert not (bench.root / UNIT).exists()
    assert bench.etcd().settings.get() == SETTINGS


def test_a_file_that_changed_in_between_is_left_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    write(bench)
    line = effects_module._line

    def late(view: object, path: str, text: str) -> str:
        (bench.root / UNIT).write_text("[Service]\nExecStart=/other\n")
        return line(view, path, text)  # type: ignore[arg-type]

    monkeypatch.setattr(effects_module, "_line", late)
    with pytest.raises(HostRefused, match="has changed since it was read"):
        write(bench, {**SETTINGS, "name": "b"})
    assert (bench.root / UNIT).read_text() == "[Service]\nExecStart=/other\n"


@pytest.mark.parametrize("settings", [{"name": "a\nb"}, {"name": "\x1b[2J"}])
def test_settings_that_have_no_form_are_refused(bench: Bench, settings: dict[str, str]) -> None:
    with pytest.raises(HostRefused, match="not one printable line"):
        write(bench, settings)
    assert not (bench.root / UNIT).exists()


def test_a_start_makes_what_etcd_needs_and_is_there_when_it_returns(bench: Bench) -> None:
    write(bench, {**SETTINGS, "wal-dir": "/wal/etcd/log"})
    start(bench)
    process = bench.etcd().process.get()
    assert process is not None
    assert process.settings == {**SETTINGS, "wal-dir": "/wal/etcd/log"}
    assert not process.hung
    for directory in ("var/lib/etcd", "wal/etcd"):
        assert (bench.root / directory).is_dir()
    assert (bench.root / "var/lib/etcd").stat().st_mode & 0o777 == 0o700
    assert not (bench.root / "wal/etcd/log").exists()
    assert bench.log()[-3:] == [
        "reset-failed etcd.service",
        "enable --quiet etcd.service",
        "start --no-block etcd.service",
    ]
    with pytest.raises(HostRefused, match="runs already"):
        start(bench)


def test_a_halted_program_is_hung(bench: Bench) -> None:
    write(bench)
    start(bench)
    [pid] = bench.shell.pids()
    os.kill(pid, signal.SIGSTOP)
    assert wait_until(lambda: bench.etcd().process.get().hung, timeout=5)


@pytest.mark.parametrize("missing", ["unit", "program", "executable"])
def test_what_cannot_be_started(bench: Bench, missing: str) -> None:
    if missing != "unit":
        write(bench)
        program = bench.root / "usr/local/bin/etcd"
        program.unlink() if missing == "program" else program.chmod(0o644)
    with pytest.raises(
        HostRefused, match="has no unit" if missing == "unit" else "not there or cannot be exec"
    ):
        start(bench)


def test_a_start_that_systemd_cannot_do_keeps_the_host_held(bench: Bench) -> None:
    write(bench)
    bench.host.effects.hold(bench.claim(), ETCD)
    bench.mode("etcd.service", "missing")
    with pytest.raises(HostRefused, match=r"could not start etcd.service: .*status 203"):
        start(bench)
    assert bench.etcd().held
    bench.mode("etcd.service", "")
    start(bench)
    assert not bench.etcd().held


def test_a_program_that_fails_was_there(bench: Bench) -> None:
    write(bench)
    bench.mode("etcd.service", "fail")
    start(bench)
    etcd = bench.etcd()
    assert (etcd.failing, etcd.process.get()) == (True, None)
    write(bench, {**SETTINGS, "name": "b"})
    assert not bench.etcd().failing


def test_a_killed_program_stays_down_and_is_not_failing(bench: Bench) -> None:
    write(bench)
    start(bench)
    for pid in bench.shell.pids():
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: bench.etcd().process.get() is None, timeout=5)
    assert not bench.etcd().failing


@pytest.mark.parametrize("address", ["127.7.7.7", "0.0.0.0"])  # noqa: S104
def test_a_taken_port_is_named(bench: Bench, address: str) -> None:
    with socket.socket() as listener:
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]
        for name in ("tcp", "tcp6"):
            (bench.root / "proc/net" / name).symlink_to(f"/proc/net/{name}")
        write(bench, {**SETTINGS, "listen-client-urls": f"http://127.7.7.7:{port}"})
        with pytest.raises(HostRefused, match=f"port {port} on 127.7.7.7 is taken by another process"):
            start(bench)
        write(bench, {**SETTINGS, "listen-client-urls": f"http://127.7.7.8:{port}"})
        if address == "127.7.7.7":
            start(bench)
        else:
            with pytest.raises(HostRefused, match="is taken"):
                start(bench)


def test_a_stop_is_over_when_it_returns(bench: Bench) -> None:
    write(bench)
    bench.host.effects.stop(bench.claim(), ETCD)
    start(bench)
    bench.host.effects.stop(bench.claim(), ETCD)
    etcd = bench.etcd()
    assert (etcd.process.get(), etcd.failing, etcd.held) == (None, False, False)
    assert list(bench.shell.pids()) == []


def test_a_program_that_ignores_sigterm_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects_module, "_GRACE", 1)
    write(bench)
    bench.mode("etcd.service", "stubborn")
    start(bench)
    bench.host.effects.stop(bench.claim(), ETCD)
    assert "kill -s KILL etcd.service" in bench.log()
    assert list(bench.shell.pids()) == []
    assert not bench.etcd().failing


def test_an_api_server_may_take_the_time_that_its_unit_gives_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends its clients' requests first."""
    monkeypatch.setattr(effects_module, "_GRACE", 1)
    unit = "kube-apiserver-cp-1.service"
    bench.file(
        f"etc/systemd/system/{unit}", "[Service]\nExecStart=/usr/local/bin/kube-apiserver --secure-port=1\n"
    )
    bench.mode(unit, "unhurried")
    bench.host.effects.start(bench.claim(), "apiserver/cp-1")
    bench.host.effects.stop(bench.claim(), "apiserver/cp-1")
    assert list(bench.shell.pids()) == []
    assert "KILL" not in bench.log()


def test_a_held_unit_does_not_start_with_the_host(bench: Bench) -> None:
    write(bench)
    start(bench)
    bench.host.effects.hold(bench.claim(), ETCD)
    etcd = bench.etcd()
    assert (etcd.held, etcd.process.get(), etcd.settings.get()) == (True, None, SETTINGS)
    assert (bench.root / "fake/etcd.service.enabled").read_text() == "disable"
    systemctl = bench.shell.shims / "systemctl"
    subprocess.run([systemctl, "start", "etcd.service"], check=True)
    assert bench.etcd().process.get() is None
    bench.host.effects.hold(bench.claim(), ETCD)
    start(bench)
    assert (bench.root / "fake/etcd.service.enabled").read_text() == "enable"
    assert not bench.etcd().held


def test_a_host_without_etcd_can_be_held(bench: Bench) -> None:
    bench.host.effects.hold(bench.claim(), ETCD)
    assert bench.etcd().held


@pytest.mark.parametrize("wal", ["", "/wal/log"])
def test_data_is_renamed_and_nothing_is_lost(bench: Bench, wal: str) -> None:
    write(bench, {**SETTINGS, **({"wal-dir": wal} if wal else {})})
    log = data(bench, "wal" if wal else "var/lib/etcd", "log" if wal else "member/wal")
    (bench.root / "var/lib/etcd/member/snap").mkdir(parents=True)
    (bench.root / "var/lib/etcd/member/snap/db").write_text("db")
    assert bench.host.inspect(timeout=10).data.get() == Data(0xC, 0xA)
    for number in (1, 2):
        bench.host.effects.set_data_aside(bench.claim())
        assert bench.host.inspect(timeout=10).data.get() is None
        kept = sorted(path.name for path in bench.root.rglob("*.wal"))
        assert kept == [log.name] * number
        if number == 1:
            data(bench, "wal" if wal else "var/lib/etcd", "log" if wal else "member/wal")
    assert len(list((bench.root / "var/lib/etcd").glob("set-aside-*"))) == (1 if wal else 2)
    bench.host.effects.set_data_aside(bench.claim())


def test_data_in_use_is_not_touched(bench: Bench) -> None:
    write(bench)
    start(bench)
    log = data(bench)
    with pytest.raises(HostRefused, match="still runs on the data"):
        bench.host.effects.set_data_aside(bench.claim())
    bench.host.effects.stop(bench.claim(), ETCD)
    db = bench.root / "var/lib/etcd/member/snap/db"
    db.parent.mkdir()
    db.write_text("")
    with subprocess.Popen(["flock", db, "sleep", "60"], start_new_session=True) as other:
        assert wait_until(lambda: subprocess.run(["flock", "-n", db, "true"]).returncode == 1, timeout=5)
        with pytest.raises(HostRefused, match="another etcd runs on"):
            bench.host.effects.set_data_aside(bench.claim())
        os.killpg(other.pid, signal.SIGKILL)
    assert log.exists()


def test_an_api_servers_flags_are_put_back_where_they_were(bench: Bench) -> None:
    environment = 'KUBE_API_ARGS="--v=2 \\\n  --etcd-servers=https://a:1"\n'
    bench.file("etc/kubernetes/apiserver", environment)
    unit = "[Service]\nEnvironmentFile=/etc/kubernetes/apiserver\n"
    unit += "ExecStart=/usr/local/bin/kube-apiserver $KUBE_API_ARGS\n"
    bench.file(API, unit)
    write(bench, {"etcd-servers": "https://b:1,https://c:1"}, "apiserver/cp-1")
    assert (bench.root / API).read_text() == unit
    changed = environment.replace("https://a:1", "https://b:1,https://c:1")
    assert (bench.root / "etc/kubernetes/apiserver").read_text() == changed
    start(bench, "apiserver/cp-1")
    report = bench.host.inspect(timeout=10)
    assert report.api_servers["cp-1"].settings.get() == {"etcd-servers": "https://b:1,https://c:1"}
    for unknown in ("apiserver/other", "kubelet", "apiserver/../x"):
        with pytest.raises(HostRefused, match="no unit"):
            bench.host.effects.stop(bench.claim(), unknown)


def test_without_systemd_nothing_is_known_and_nothing_done(bench: Bench) -> None:
    write(bench)
    bench.file("fake/broken", "")
    report = bench.host.inspect(timeout=10)
    for fact in (report.etcd.settings, report.etcd.process, report.data):
        assert "Failed to connect to bus" in (fact.why or "")
    with pytest.raises(EtcdplanError, match="Failed to connect to bus"):
        start(bench)


def test_without_systemd_an_api_server_is_not_taken_for_missing(bench: Bench) -> None:
    bench.file(API, "[Service]\nExecStart=/usr/local/bin/kube-apiserver --secure-port=1\n")
    host = RemoteHost(bench.shell, bench.members, Layout(api_servers={"cp-1": "", "cp-2": ""}))
    assert host.inspect(timeout=10).installed == {"cp-1"}
    bench.file("fake/broken", "")
    report = host.inspect(timeout=10)
    assert report.installed == {"cp-1", "cp-2"}
    for name in ("cp-1", "cp-2"):
        unit = report.api_servers[name]
        for fact in (unit.settings, unit.process):
            assert "Failed to connect to bus" in (fact.why or "")
    effects, silent = host.effects, "systemd does not answer there .systemctl: Failed to connect to bus"
    with pytest.raises(HostRefused, match=f"apiserver/cp-1 on 10.0.0.1: {silent}"):
        effects.stop(bench.claim(), "apiserver/cp-1")
    with pytest.raises(HostRefused, match=f"settings of apiserver/cp-1 cannot be written: {silent}"):
        effects.write_settings(bench.claim(), "apiserver/cp-1", {"etcd-servers": "https://b:1"})
    with pytest.raises(HostRefused, match=silent):
        effects.install_leaf(bench.claim(), "apiserver-cp-2", b"")


def test_the_record_comes_and_goes(bench: Bench) -> None:
    bench.host.effects.write_record(bench.claim(), b"{}\n\xff")
    assert bench.host.inspect(timeout=10).record.get() == b"{}\n\xff"
    bench.host.effects.forget_record(bench.claim())
    bench.host.effects.forget_record(bench.claim())
    assert bench.host.inspect(timeout=10).record.get() is None


def test_what_remembers_a_cluster_is_waited_for_while_it_ends(bench: Bench) -> None:
    pids = {}
    for unit, mode in (
        ("kubelet.service", "unhurried"),
        ("kube-scheduler.service", ""),
        ("gone.service", ""),
    ):
        bench.file(f"etc/systemd/system/{unit}", "[Service]\nExecStart=/usr/local/bin/etcd\n")
        bench.mode(unit, mode)
        if unit != "gone.service":
            subprocess.run([bench.shell.shims / "systemctl", "start", unit], check=True)
            pids[unit] = (bench.root / f"fake/{unit}.pid").read_text()
    units = ("kubelet.service", "kube-scheduler.service", "gone.service", "none.service")
    bench.host.effects.restart_running(bench.claim(), units)
    log = bench.log()
    assert [line for line in log if "try-restart" in line and "--no-block" in line] == [
        f"try-restart --no-block {unit}" for unit in pids
    ]
    for unit, pid in pids.items():
        assert wait_until(lambda: (bench.root / f"fake/{unit}.pid").read_text() != pid, timeout=1), unit  # noqa: B023
    assert not (bench.root / "fake/gone.service.pid").exists()
