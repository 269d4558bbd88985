"""A change of configuration that does no good is taken back on its host, by whoever is left to do it."""

import time
from collections.abc import Iterator

import pytest

from etcdplan.hosts.processes import wait_until
from tests.support.fleet import Done, Fleet, killed

pytestmark = [pytest.mark.bed, pytest.mark.timeout(600)]

HARMFUL = "{no-such-flag: 'true'}"
"""etcd exits at once with it."""
AFTER_WRITING = "effect:1:after"
"""The first effect of a change of flags is to write them to the first follower's unit."""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet.up(tmp_path_factory.mktemp("fleet"), 3) as fleet:
        yield fleet


@pytest.fixture
def fleet(hosts: Fleet) -> Fleet:
    """One cluster for all, which every test leaves well; what it took back is forgotten."""
    hosts.write_spec((1, 2, 3))
    hosts.apply()
    hosts.settled(3)
    for number in (1, 2, 3):
        hosts.host(number).exec("sh", "-c", "rm -f /var/lib/etcdplan/dead-man/fired/*")
    assert armed(hosts) == []
    return hosts


def harm(fleet: Fleet, **environment: str) -> Done:
    """Apply flags with which no etcd starts."""
    fleet.write_spec((1, 2, 3), extraArgs=HARMFUL)
    return fleet.apply(expect=None, ETCDPLAN_TEST_BUILD="1", **environment)


def armed(fleet: Fleet) -> list[int]:
    """Return the hosts with something that is armed."""
    return [n for n in (1, 2, 3) if fleet.host(n).running and listed(fleet, n, "armed")]


def listed(fleet: Fleet, number: int, directory: str) -> list[str]:
    command = f"ls /var/lib/etcdplan/dead-man/{directory} 2>/dev/null || :"
    return fleet.host(number).exec("sh", "-c", command).stdout.split()


def taken_back(fleet: Fleet, number: int, *, within: float = 60) -> None:
    """Wait until the host has the former flags, and all etcds serve with them."""
    assert wait_until(lambda: listed(fleet, number, "fired") == ["etcd.service"], timeout=within)
    assert "no-such-flag" not in fleet.host(number).exec("systemctl", "cat", "etcd").stdout
    fleet.await_status("3 of 3 voters serve", timeout=180)
    assert armed(fleet) == []


def test_the_controller_takes_back_what_does_not_work(fleet: Fleet) -> None:
    """It exits with 9, the next plan tells, and the next apply may try again, with something better."""
    done = harm(fleet)
    assert done.code == 9, done
    assert "The former settings were put back, and what runs with them works again: etcd on" in done.err, done
    fleet.await_status("3 of 3 voters serve")
    assert "was rolled back: " in fleet.plan()
    fleet.write_spec((1, 2, 3), quotaBackend="4GiB")
    fleet.apply()
    fleet.settled(3)
    assert armed(fleet) == []
    assert "rolled back" not in fleet.plan()


@pytest.mark.parametrize("effect", ["effect:1:after", "effect:2:after", "effect:3:after"])
def test_the_host_takes_back_what_a_dead_controller_has_left(fleet: Fleet, effect: str) -> None:
    died = harm(fleet, ETCDPLAN_FAILPOINT=effect)
    assert killed(died), died
    [host] = armed(fleet)
    taken_back(fleet, host)
    assert "its controller gave no sign of life for 15 s" in fleet.plan()
    fleet.write_spec((1, 2, 3))
    assert "No changes" in fleet.plan()


def test_a_power_cut_does_not_disarm(fleet: Fleet) -> None:
    died = harm(fleet, ETCDPLAN_FAILPOINT=AFTER_WRITING)
    assert killed(died), died
    [host] = armed(fleet)
    fleet.host(host).power_cut()
    fleet.host(host).boot()
    taken_back(fleet, host)


def test_a_host_that_is_cut_off_takes_the_change_back_and_the_controller_sees_it(fleet: Fleet) -> None:
    fleet.write_spec((1, 2, 3), extraArgs=HARMFUL)
    log = fleet.directory / "effects"
    process = fleet.start(
        "apply", fleet.spec, "--auto-approve", ETCDPLAN_TEST_BUILD="1", ETCDPLAN_FAILPOINT_LOG=str(log)
    )
    assert wait_until(lambda: log.exists() and "start " in log.read_text(), timeout=60)
    [host] = armed(fleet)
    fleet.host(host).cut_from(fleet.bed.controller)
    assert wait_until(lambda: listed(fleet, host, "fired") == ["etcd.service"], timeout=60)
    fleet.host(host).heal()
    out, err = process.communicate(timeout=240)
    assert process.returncode == 9, (out, err)
    taken_back(fleet, host)


def test_whoever_resumes_claims_the_change_first(fleet: Fleet) -> None:
    """Flags that do good: nothing is taken back, neither under the run that resumes nor after it."""
    fleet.write_spec((1, 2, 3), quotaBackend="4GiB")
    died = fleet.apply(expect=None, ETCDPLAN_TEST_BUILD="1", ETCDPLAN_FAILPOINT="effect:3:after")
    assert killed(died), died
    [host] = armed(fleet)
    fleet.resume()
    assert armed(fleet) == []
    watched = time.monotonic()
    assert wait_until(lambda: time.monotonic() - watched > 20, timeout=60)
    fleet.settled(3)
    assert listed(fleet, host, "fired") == []
