"""The main job on systemd hosts over SSH: found, replace a host that lost power, resume from another machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from etcdplan.lab.binaries import etcd_binaries
from tests.support.backups import with_backups
from tests.support.fleet import VERSION, Fleet, killed

pytestmark = [pytest.mark.bed, pytest.mark.timeout(600)]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.up(tmp_path, 4) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet.up(tmp_path_factory.mktemp("fleet"), 3) as fleet:
        yield fleet


@pytest.fixture
def founded(hosts: Fleet) -> Fleet:
    """One cluster for the tests that leave it well, as it is right after its founding."""
    hosts.write_spec((1, 2, 3))
    hosts.apply()
    return hosts


def test_founded_and_a_host_that_lost_power_is_replaced(fleet: Fleet) -> None:
    fleet.write_spec((1, 2, 3))
    fleet.apply()
    fleet.settled(3)
    fleet.host(2).power_cut()
    fleet.await_status("2 of 3 voters serve")
    assert "Refused: host-unreachable" in fleet.plan(expect=8)
    fleet.write_spec((1, 4, 3))
    assert "cannot be stopped: its host does not answer" in fleet.plan()
    fleet.apply()
    fleet.settled(3)
    assert fleet.run("apply", fleet.spec, "--auto-approve").out.count("No changes") == 1


def test_all_hosts_lose_power_right_after_the_founding(fleet: Fleet) -> None:
    """What was done is on disk when it is called done, and comes back by itself."""
    fleet.write_spec((1, 2, 3))
    fleet.apply()
    for number in (1, 2, 3):
        fleet.host(number).power_cut()
    for number in (1, 2, 3):
        fleet.host(number).boot()
    fleet.await_status("3 of 3 voters serve")
    fleet.settled(3)


def test_looking_changes_nothing(founded: Fleet) -> None:
    """Neither files, but for those that etcd itself writes, nor units."""

    def everything() -> list[str]:
        files = (
            "find / -xdev -type f -not -path '/var/lib/etcd/*' -not -path '/proc/*' -not -path '/run/*' "
            "-not -path '/var/log/*' -not -path '/tmp/*' -printf '%p %T@ %m %u\\n' | sort; "
            "systemctl list-units --all --no-legend --plain --type=service | awk '{print $1, $2, $3, $4}' | sort"
        )
        return [founded.host(number).exec("sh", "-c", files).stdout for number in (1, 2, 3)]

    before = everything()
    founded.plan()
    founded.run("status", founded.spec)
    founded.run("observe", founded.spec, "-o", "live.json")
    identity = ("--age-identity", founded.spec.parent / "identity")
    taken = founded.run(
        "backup", "run", with_backups(founded.spec), *identity, "--etcd-dir", etcd_binaries(VERSION)
    )
    assert "HashKV equal to the member's" in taken.out
    assert everything() == before


def test_a_member_that_lost_its_disk_is_replaced_after_a_death_in_the_middle(founded: Fleet) -> None:
    founded.host(2).exec("systemctl", "kill", "--signal=KILL", "etcd")
    founded.host(2).exec("systemctl", "stop", "etcd")
    founded.host(2).exec("sh", "-c", "rm -rf /var/lib/etcd/member")
    founded.await_status("2 of 3 voters serve")
    died = founded.apply(expect=None, ETCDPLAN_TEST_BUILD="1", ETCDPLAN_FAILPOINT="effect:4:after")
    assert killed(died), died
    founded.resume()
    founded.settled(3)


def test_flags_change_one_member_at_a_time_and_survive_a_power_cut(founded: Fleet) -> None:
    founded.write_spec((1, 2, 3), quotaBackend="4GiB")
    founded.apply()
    founded.settled(3)
    for number in (1, 2, 3):
        assert (
            "--quota-backend-bytes=4294967296" in founded.host(number).exec("systemctl", "cat", "etcd").stdout
        )
        founded.host(number).power_cut()
        founded.host(number).boot()
        founded.await_status("3 of 3 voters serve")
    founded.settled(3)
