"""The test bed's hosts are what a test takes them for, and nothing is left of them."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed import DEPLOY, VISITOR, Bed, BedError, Host, wrong_clock
from tests.bed.root_file_system import root_file_system

# The first run builds what the hosts boot from.
pytestmark = [pytest.mark.bed, pytest.mark.timeout(900)]

SECONDS_TO_FIVE_HOSTS = 10
_STATE = Path("/var/lib/etcdplan-bed")


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    root_file_system()
    started = time.monotonic()
    with Bed(bare=3, debian=2) as bed:
        took = time.monotonic() - started
        assert took <= SECONDS_TO_FIVE_HOSTS, f"five hosts took {took:.1f} s"
        yield bed


@pytest.fixture
def host(bed: Bed) -> Iterator[Host]:
    yield bed.host(1)
    bed.host(1).heal()
    bed.host(1).boot()


def succeeds(host: Host, *argv: str) -> bool:
    return host.exec(*argv, check=False).returncode == 0


def sh(host: Host, script: str) -> str:
    return host.exec("sh", "-ec", script).stdout


def reaches(host: Host, address: str) -> bool:
    return succeeds(host, "ping", "-n", "-c", "1", "-W", "0.5", address)


def echo_requests(host: Host) -> int:
    """Return how many pings have arrived at a host."""
    names, values = (line.split()[1:] for line in sh(host, "grep ^Icmp: /proc/net/snmp").splitlines())
    return int(dict(zip(names, values, strict=True))["InEchos"])


def traces(bed_number: str) -> list[str]:
    """Return what this machine still has that bears a bed's number."""
    own = f"epb{bed_number}"
    text = "\n".join(
        [
            *subprocess.run(
                ["ip", "-o", "link"], capture_output=True, text=True, check=True
            ).stdout.splitlines(),
            *(str(path) for path in Path("/run/netns").iterdir()),
            *(str(path) for path in Path("/sys/fs/cgroup").rglob(f"{own}*")),
            *Path("/proc/self/mountinfo").read_text().splitlines(),
            *subprocess.run(
                ["losetup", "--list"], capture_output=True, text=True, check=True
            ).stdout.splitlines(),
            *subprocess.run(
                ["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True
            ).stdout.splitlines(),
            *(str(path) for path in _STATE.iterdir()),
        ]
    )
    words = (f"{own}:", f"{own}h", f"{own} ", f"{_STATE}/{bed_number}/", f"{_STATE}/{bed_number} ")
    return [line for line in text.splitlines() if any(word in f"{line} " for word in words)]


def number(bed: Bed) -> str:
    return bed.controller.split(".")[2]


def test_strict_client_reaches_every_host_as_each_user(bed: Bed) -> None:
    for host in bed.hosts:
        for user in ("root", DEPLOY, VISITOR):
            done = bed.ssh(host, "id -un; hostname", user=user)
            assert done.stdout.decode().split() == [user, host.name], done.stderr
    assert bed.ssh(bed.host(1), "sudo -n id -u", user=DEPLOY).stdout == b"0\n"
    assert bed.ssh(bed.host(1), "sudo -n id -u", user=VISITOR).returncode != 0


def test_hosts_have_only_what_a_managed_host_may_need(bed: Bed) -> None:
    for host in bed.hosts:
        assert host.exec("systemctl", "is-system-running", "--wait").stdout == "running\n"
        assert (
            sh(host, "ls /usr/bin /usr/sbin /usr/local/bin | grep -E '^(python|curl|wget|nc)' || true") == ""
        )
        for needed in ("sh", "flock", "openssl", "systemctl", "sudo", "mv"):
            assert succeeds(host, "which", needed)
    bare, debian = bed.host(1), bed.host(4)
    assert sh(bare, "find / -xdev -name '*etcd*'; getent passwd etcd || true") == ""
    assert "3.4.23" in debian.exec("etcd", "--version").stdout
    assert f"{debian.name}, http://localhost:2380" in debian.exec("etcdctl", "member", "list").stdout


def test_a_service_of_one_host_is_none_of_the_others(bed: Bed) -> None:
    bed.host(4).exec("systemctl", "stop", "etcd")
    assert not succeeds(bed.host(4), "systemctl", "is-active", "etcd")
    assert succeeds(bed.host(5), "etcdctl", "endpoint", "health")
    assert (
        bed.host(4).exec("cat", "/etc/machine-id").stdout != bed.host(5).exec("cat", "/etc/machine-id").stdout
    )
    bed.host(4).exec("systemctl", "start", "etcd")


def test_a_power_cut_loses_what_was_not_synced(bed: Bed, host: Host) -> None:
    sh(host, "mkdir /srv/data; echo kept >/srv/data/synced; sync; echo gone >/srv/data/not-synced")
    assert sh(host, "cat /srv/data/not-synced") == "gone\n"
    before = sh(host, "cat /etc/machine-id /proc/sys/kernel/random/boot_id; ls -di /proc/1/ns/pid")
    host.power_cut()
    assert not host.running
    assert not reaches(bed.host(2), host.address)
    with pytest.raises(BedError, match="is not running"):
        host.exec("true")
    host.boot()
    assert sh(host, "cat /srv/data/*") == "kept\n"
    after = sh(host, "cat /etc/machine-id /proc/sys/kernel/random/boot_id; ls -di /proc/1/ns/pid")
    assert after.split()[0] == before.split()[0]
    assert after != before
    assert bed.ssh(host, "true").returncode == 0


def test_whoever_looks_at_a_disk_from_elsewhere_holds_no_power_cut_up(bed: Bed, host: Host) -> None:
    """It is only waited for, for two mounts of one disk would destroy it."""
    sh(host, "echo kept >/root/note && sync")
    places = [bed.identity.parent / "h1" / name for name in ("root/etc/hostname", "disk/upper/root/note")]
    looks = [place.open() for place in places]
    for look, after in zip(looks, (0.5, 1.0), strict=True):
        threading.Timer(after, look.close).start()
    started = time.monotonic()
    host.power_cut()
    assert time.monotonic() - started >= 0.9
    host.boot()
    assert sh(host, "cat /root/note") == "kept\n"


def test_a_power_cut_leaves_connections_without_an_answer(bed: Bed, host: Host) -> None:
    with socket.create_connection((host.address, 22), timeout=5) as connection:
        assert connection.recv(4) == b"SSH-"
        while connection.recv(1) != b"\n":
            pass
        host.power_cut()
        connection.settimeout(1)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_a_directory_of_the_root_file_system_is_renamed_like_any_other(bed: Bed) -> None:
    for old, new in (("etcd", "aside"), ("aside", "etcd")):
        bed.host(5).exec("perl", "-e", f"rename('/var/lib/{old}', '/var/lib/{new}') or die $!")


def test_a_cut_off_host_reaches_nobody_and_stays_so_over_a_power_cut(bed: Bed, host: Host) -> None:
    other = bed.host(2)
    assert reaches(host, other.address)
    host.cut_network()
    for _ in range(2):
        assert not reaches(host, other.address)
        assert not reaches(other, host.address)
        assert not reaches(host, bed.controller)
        assert reaches(host, "127.0.0.1")
        host.power_cut()
        host.boot()
    assert bed.ssh(host, "true").returncode == 255
    host.heal()
    assert reaches(host, other.address)
    assert bed.ssh(host, "true").returncode == 0


def test_two_hosts_are_cut_from_each_other_only(bed: Bed, host: Host) -> None:
    host.cut_from(bed.host(2))
    assert not reaches(host, bed.host(2).address)
    assert not reaches(bed.host(2), host.address)
    for ours, theirs in ((host, bed.host(3)), (bed.host(2), bed.host(3))):
        assert reaches(ours, theirs.address)
        assert reaches(theirs, ours.address)
    host.cut_from(bed.controller)
    assert bed.ssh(host, "true").returncode == 255
    assert bed.ssh(bed.host(2), "true").returncode == 0


def test_packets_are_lost_one_way(bed: Bed, host: Host) -> None:
    other = bed.host(2)
    host.one_way(other)
    arrived = echo_requests(other)
    assert not reaches(host, other.address)
    assert echo_requests(other) == arrived
    arrived = echo_requests(host)
    assert not reaches(other, host.address)
    assert echo_requests(host) == arrived + 1
    assert reaches(host, bed.host(3).address)


@pytest.mark.parametrize("own", [False, True], ids=["root disk", "own disk"])
def test_a_full_disk_has_no_room_for_anybody(bed: Bed, own: bool) -> None:
    host = bed.host(3)
    if own:
        host.empty_disk("/srv/full")
    sh(host, "mkdir -p /srv/full; touch /srv/full/file")
    before = sh(host, "ls -A /srv/full")
    host.full_disk("/srv/full")
    refused = host.exec("dd", "if=/dev/zero", "of=/srv/full/file", "bs=64k", "count=1", check=False)
    assert "No space left on device" in refused.stderr
    assert sh(host, "ls -A /srv/full") == before
    assert succeeds(host, "touch", "/tmp/another-file-system")
    host.free_disk("/srv/full")
    sh(host, "dd if=/dev/zero of=/srv/full/file bs=64k count=1 status=none")


def test_a_new_disk_is_empty_and_keeps_what_was_synced(bed: Bed) -> None:
    host = bed.host(3)
    sh(host, "mkdir -p /srv/disk; echo old >/srv/disk/file")
    for _ in range(2):
        host.empty_disk("/srv/disk")
        assert sh(host, "mountpoint -q /srv/disk; ls -A /srv/disk") == "lost+found\n"
        sh(host, "echo kept >/srv/disk/file; sync; echo gone >/srv/disk/other")
        host.power_cut()
        host.boot()
        assert sh(host, "cd /srv/disk; cat [a-z]*e [a-z]*r 2>/dev/null || true") == "kept\n"
    host.power_cut()
    host.empty_disk("/srv/disk", mebibytes=16)
    host.boot()
    assert sh(host, "ls -A /srv/disk") == "lost+found\n"
    assert int(sh(host, "df --output=size -m /srv/disk | tail -1")) < 16


def test_a_swapped_host_key_is_noticed(bed: Bed) -> None:
    host = bed.host(3)
    host.swap_host_key()
    try:
        refused = bed.ssh(host, "true")
        assert refused.returncode == 255
        assert b"REMOTE HOST IDENTIFICATION HAS CHANGED" in refused.stderr
        assert host.host_key not in bed.known_hosts.read_text()
        first = bed.known_hosts.read_text()
        bed.known_hosts.write_text(f"{host.address} {host.host_key}\n")
        assert bed.ssh(host, "true").returncode == 0
    finally:
        bed.known_hosts.write_text("".join(f"{each.address} {each.host_key}\n" for each in bed.hosts))
    assert bed.known_hosts.read_text() != first


def test_files_are_put_on_a_running_and_on_a_switched_off_host(bed: Bed, host: Host) -> None:
    host.put("/opt/new/program", b"#!/bin/sh\necho ran\n", mode=0o755)
    assert host.exec("/opt/new/program").stdout == "ran\n"
    host.exec("sync")
    host.power_cut()
    host.put("/opt/new/file", Path(__file__), mode=0o600)
    host.boot()
    assert sh(host, "stat -c %a:%u /opt/new/file") == "600:0\n"
    assert sh(host, "cat /opt/new/file") == Path(__file__).read_text()


def test_what_fails_on_a_host_is_said(bed: Bed) -> None:
    with pytest.raises(BedError, match=r"h2: .*exit status 3: not that"):
        bed.host(2).exec("sh", "-c", "echo not that >&2; exit 3")
    with pytest.raises(BedError, match="took longer than"):
        bed.host(2).exec("sleep", "20", timeout=0.2)
    with pytest.raises(BedError, match="There is no host 6"):
        bed.host(6)


def test_a_wrong_clock_shifts_the_time_of_day_and_no_waiting() -> None:
    program = "import time; a = time.monotonic(); print(time.time(), a)"
    out = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **wrong_clock("+2h")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert float(out[0]) == pytest.approx(time.time() + 7200, abs=60)
    assert float(out[1]) == pytest.approx(time.monotonic(), abs=60)


def test_nothing_is_left_after_a_test_that_failed() -> None:
    name = ""
    with pytest.raises(ZeroDivisionError), Bed(bare=2) as bed:
        name = number(bed)
        assert traces(name)
        bed.host(1).empty_disk("/srv/disk")
        bed.host(2).power_cut()
        raise ZeroDivisionError
    assert traces(name) == []


def test_leftovers_of_a_killed_run_are_removed_and_no_living_bed(bed: Bed) -> None:
    program = (
        "import time; from tests.bed import Bed\n"
        "with Bed(debian=2) as bed: print(bed.controller, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        name = process.stdout.readline().split(".")[2]
        with Bed(bare=1) as other:
            assert len({number(bed), name, number(other)}) == 3
        assert traces(name)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert traces(name)
    with Bed(bare=1):
        assert traces(name) == []
        assert bed.ssh(bed.host(1), "true").returncode == 0


@pytest.mark.parametrize(
    ("lack", "said"),
    [("root", "needs root"), ("tools", "needs .*nft.*bed/install"), ("hosts", "1 to 8 hosts, not 9")],
)
def test_what_a_bed_lacks_is_said_and_fails(lack: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if lack == "root":
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
    if lack == "tools":
        monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BedError, match=said), Bed(bare=9 if lack == "hosts" else 1):
        pass
