"""Real kube-apiservers on systemd hosts: re-pointed one at a time, each ready before the next."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from etcdplan.hosts.processes import wait_until
from tests.support.fleet import Fleet
from tests.support.kubernetes import DROP_IN, ENVIRONMENT, UNIT, ControlPlane

pytestmark = [pytest.mark.bed, pytest.mark.timeout(600)]

FORMS = {"cp1": UNIT, "cp2": DROP_IN, "cp3": ENVIRONMENT}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Members on hosts 1 to 4, API servers on 5 to 7."""
    with Fleet.up(tmp_path, 7) as fleet:
        yield fleet


@pytest.fixture
def plane(fleet: Fleet, tmp_path: Path) -> ControlPlane:
    return ControlPlane(
        tmp_path, {name: (fleet.host(5 + number), form) for number, (name, form) in enumerate(FORMS.items())}
    )


def write_spec(fleet: Fleet, plane: ControlPlane, *members: int, extra: str = "", **own: str) -> None:
    fleet.write_spec(members)
    with fleet.spec.open("a") as spec:
        spec.write(f"  apiServers:\n{extra}    instances:\n{plane.instances(**own)}")


def leader(fleet: Fleet, *members: int) -> int:
    """Return the number of the host whose etcd leads."""
    said = json.loads(fleet.run("status", "--json", fleet.spec).out)
    host = next(member["host"] for member in said["members"] if member["leader"])
    return next(number for number in members if fleet.host(number).address == host)


def test_a_leader_that_is_cut_off_is_replaced_beside_api_servers_that_know_all_members(
    fleet: Fleet, plane: ControlPlane
) -> None:
    write_spec(fleet, plane, 1, 2, 3)
    fleet.apply()
    everyone = {fleet.host(n).address for n in (1, 2, 3)}
    assert {name: plane.members_of(name) for name in FORMS} == dict.fromkeys(FORMS, everyone)
    lost = leader(fleet, 1, 2, 3)
    left = [number for number in (1, 2, 3) if number != lost]
    with plane.writers() as written:
        wait_until(lambda: len(written.last) == 3, timeout=30)
        fleet.host(lost).cut_network()
        write_spec(fleet, plane, *left, 4)
        fleet.await_status("2 of 3 voters serve")
        fleet.apply()
        seen = len(written.acknowledged)
        assert wait_until(lambda: len(written.acknowledged) > seen + 10, timeout=30)
    print(written.failed)
    now = {fleet.host(n).address for n in (*left, 4)}
    assert {name: plane.members_of(name) for name in FORMS} == dict.fromkeys(FORMS, now)
    assert all(plane.objects(name) >= written.acknowledged for name in FORMS)
    fleet.settled(3)
