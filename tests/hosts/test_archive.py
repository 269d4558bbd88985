"""etcd from an archive, on hosts that have nothing of it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from etcdplan.hosts.processes import wait_until
from tests.support.fleet import Fleet, killed

pytestmark = [pytest.mark.bed, pytest.mark.timeout(600)]

WHERE = "/opt/etcdplan"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.up(tmp_path, 3, etcd=False) as fleet:
        yield fleet


def test_founded_from_an_archive_on_bare_hosts(fleet: Fleet) -> None:
    source = fleet.archive()
    fleet.write_spec((1, 2, 3), source=source)
    assert "install etcd from the archive on 3 hosts" in fleet.plan()
    fleet.apply()
    fleet.settled(3)
    sha = re.findall("[0-9a-f]{64}", source)[0]
    for number in (1, 2, 3):
        host = fleet.host(number)
        pid = host.exec("systemctl", "show", "-p", "MainPID", "--value", "etcd").stdout.strip()
        program = host.exec("readlink", f"/proc/{pid}/exe").stdout.strip()
        assert program == f"{WHERE}/etcd-3.6.16-{sha[:16]}/etcd"
        assert host.exec("stat", "-c", "%U", f"/proc/{pid}").stdout.strip() == "etcd"
        assert host.exec("ls", "-A", WHERE).stdout.split() == [f"etcd-3.6.16-{sha[:16]}"]
    # What is damaged afterwards is seen, and put in place again under the running etcd.
    host.exec("sh", "-c", f"rm {program}; echo >{program}; chmod 755 {program}")
    assert "install etcd 3.6.16 from the archive" in fleet.plan()
    fleet.apply()
    fleet.settled(3)


def test_a_death_in_the_middle_of_sending_leaves_nothing_half_written(fleet: Fleet) -> None:
    # So much that sending it takes a while.
    fleet.write_spec((1, 2, 3), source=fleet.archive(etcdutl=b"\x7fELF" + bytes(200 << 20)))
    process = fleet.start("apply", fleet.spec, "--auto-approve")
    there = f"stat -c %s {WHERE}/.new.*/etcdutl"
    assert wait_until(lambda: fleet.host(1).exec("sh", "-c", there, check=False).stdout != "", timeout=120)
    process.kill()
    process.communicate(timeout=30)
    gone = lambda: fleet.host(1).exec("ls", "-A", WHERE).stdout == ""  # noqa: E731
    assert wait_until(gone, timeout=60), fleet.host(1).exec("ls", "-AR", WHERE).stdout
    fleet.resume()
    fleet.settled(3)


@pytest.mark.parametrize("boundary", ["effect:1:before", "effect:1:after"])
def test_a_death_around_the_effect_is_resumed(fleet: Fleet, boundary: str) -> None:
    fleet.write_spec((1,), source=fleet.archive())
    died = fleet.apply(expect=None, ETCDPLAN_TEST_BUILD="1", ETCDPLAN_FAILPOINT=boundary)
    assert killed(died), died
    fleet.resume()
    fleet.settled(1)


def test_what_does_not_fit_is_refused_before_anything_is_changed(fleet: Fleet) -> None:
    fleet.write_spec((1,), source=fleet.archive())
    good = fleet.spec.read_text()
    fleet.spec.write_text(re.sub("[0-9a-f]{64}", "ab" * 32, good))
    assert "and the spec says abababab" in fleet.apply(expect=1).err
    fleet.spec.write_text(good.replace("version: 3.6.16", "version: 3.6.15"))
    assert "not etcd 3.6.15" in fleet.apply(expect=6).err
    fleet.spec.write_text(good)
    fleet.host(1).exec("mkdir", "-p", WHERE)
    fleet.host(1).empty_disk(WHERE, 32)
    assert "its disk is full" in fleet.apply(expect=6).err
    assert fleet.host(1).exec("ls", WHERE).stdout.split() == ["lost+found"]


def test_a_host_without_a_source_gets_one(tmp_path: Path) -> None:
    """A member of the same version restarts with the archive's program, in the unit that it has."""
    with Fleet.up(tmp_path, 1) as fleet:
        fleet.write_spec((1,), allowOutage="true")
        fleet.apply()
        fleet.write_spec((1,), allowOutage="true", source=fleet.archive())
        fleet.apply()
        fleet.settled(1)
        assert f"ExecStart={WHERE}/etcd-3.6.16-" in fleet.host(1).exec("systemctl", "cat", "etcd").stdout


def test_every_version_comes_from_an_archive(tmp_path: Path) -> None:
    with Fleet.up(tmp_path, 4, etcd=False) as fleet:
        for number, version in enumerate(("3.4.23", "3.5.35", "3.6.16", "3.7.3"), 1):
            fleet.runners += 1
            fleet.write_spec((number,), version=version, source=fleet.archive(version))
            fleet.apply()
            fleet.settled(1)


def test_debian_s_package_is_used_as_it_is(tmp_path: Path) -> None:
    with Fleet.up(tmp_path, 0, debian=3) as fleet:
        fleet.write_spec((1, 2, 3), version="3.4.23")
        plan = fleet.plan()
        fleet.apply()
        fleet.settled(3)
        assert "set aside" in plan and "destructive" in plan
        assert "set-aside-" in fleet.host(1).exec("ls", "/var/lib/etcd/default").stdout
        assert "/usr/bin/etcd" in fleet.host(1).exec("systemctl", "cat", "etcd").stdout
        fleet.write_spec((1, 2, 3), version="3.4.23", quotaBackend="4GiB")
        fleet.apply()
        fleet.settled(3)
