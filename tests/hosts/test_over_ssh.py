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


def test_a_member_that_lost_its_disk_is_replaced_after_a_death_in_the_middle(fleet: Fleet) -> None:
    fleet.write_spec((1, 2, 3))
    fleet.apply()
    fleet.host(2).exec("systemctl", "kill", "--signal=KILL", "etcd")
    fleet.host(2).exec("systemctl", "stop", "etcd")
    fleet.host(2).exec("sh", "-c", "rm -rf /var/lib/etcd/member")
    fleet.await_status("2 of 3 voters serve")
    died = fleet.apply(expect=None, ETCDPLAN_TEST_BUILD="1", ETCDPLAN_FAILPOINT="effect:4:after")
    assert killed(died), died
    fleet.resume()
    fleet.settled(3)


def test_flags_change_one_member_at_a_time_and_survive_a_power_cut(fleet: Fleet) -> None:
    fleet.write_spec((1, 2, 3))
    fleet.apply()
    fleet.write_spec((1, 2, 3), quotaBackend="4GiB")
    fleet.apply()
    fleet.settled(3)
    for number in (1, 2, 3):
        assert (
            "--quota-backend-bytes=4294967296" in fleet.host(number).exec("systemctl", "cat", "etcd").stdout
        )
        fleet.host(number).power_cut()
        fleet.host(number).boot()
        fleet.await_status("3 of 3 voters serve")
    fleet.settled(3)


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


def test_looking_changes_nothing(fleet: Fleet) -> None:
    """Neither files, but for those that etcd itself writes, nor units."""
    fleet.write_spec((1, 2, 3))
    fleet.apply()

    def everything() -> list[str]:
        files = (
            "find / -xdev -type f -not -path '/var/lib/etcd/*' -not -path '/proc/*' -not -path '/run/*' "
            "-not -path '/var/log/*' -not -path '/tmp/*' -printf '%p %T@ %m %u\\n' | sort; "
            "systemctl list-units --all --no-legend --plain --type=service | awk '{print $1, $2, $3, $4}' | sort"
        )
        return [fleet.host(number).exec("sh", "-c", files).stdout for number in (1, 2, 3)]

    before = everything()
    fleet.plan()
    fleet.run("status", fleet.spec)
    fleet.run("observe", fleet.spec, "-o", "live.json")
    identity = ("--age-identity", fleet.spec.parent / "identity")
    taken = fleet.run(
        "backup", "run", with_backups(fleet.spec), *identity, "--etcd-dir", etcd_binaries(VERSION)
    )
    assert "HashKV equal to the member's" in taken.out
    assert everything() == before
