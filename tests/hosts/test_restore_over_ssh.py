"""Restores on systemd hosts over SSH, under real kube-apiservers."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from etcdplan.hosts.processes import wait_until
from etcdplan.lab.binaries import etcd_binaries
from tests.support.backups import with_backups
from tests.support.fleet import VERSION, Fleet
from tests.support.kubernetes import DROP_IN, ENVIRONMENT, OBJECTS, UNIT, ControlPlane

pytestmark = [pytest.mark.bed, pytest.mark.timeout(600)]

FORMS = {"cp1": UNIT, "cp2": DROP_IN, "cp3": ENVIRONMENT}


class Restoring:
    """Three hosts with a member and an API server each, and a policy for backups."""

    def __init__(self, fleet: Fleet, directory: Path) -> None:
        self.fleet = fleet
        hosts = {name: (fleet.host(number), form) for number, (name, form) in enumerate(FORMS.items(), 1)}
        self.plane = ControlPlane(directory, hosts)
        self.write_spec(1, 2, 3)
        fleet.apply()
        self.opens = (*("--age-identity", directory / "identity", "--etcd-dir", etcd_binaries(VERSION)),)

    def write_spec(self, *members: int) -> None:
        self.fleet.write_spec(members)
        with self.fleet.spec.open("a") as spec:
            spec.write(f"  apiServers:\n    instances:\n{self.plane.instances()}")
        self.spec = with_backups(self.fleet.spec)

    def write(self, name: str) -> None:
        def written() -> bool:
            try:
                body = {"metadata": {"name": name}, "data": {"written": "once"}}
                return self.plane.request("cp1", "POST", OBJECTS, body)[0] == 201
            except OSError:
                return False

        assert wait_until(written, timeout=30)

    def backup(self) -> str:
        taken = self.fleet.run("backup", "run", self.spec, "--json", *self.opens)
        name: str = json.loads(taken.out)["name"]
        return name


@pytest.fixture
def restoring(tmp_path: Path) -> Iterator[Restoring]:
    with Fleet.up(tmp_path, 3) as fleet:
        yield Restoring(fleet, tmp_path)


def test_all_data_is_gone_and_comes_back(restoring: Restoring) -> None:
    fleet, plane = restoring.fleet, restoring.plane
    restoring.write("before")
    name = restoring.backup()
    restoring.write("after")
    for number in (1, 2, 3):
        fleet.host(number).exec("systemctl", "kill", "--signal=KILL", "etcd")
        fleet.host(number).exec("systemctl", "stop", "etcd")
        fleet.host(number).exec("sh", "-c", "rm -rf /var/lib/etcd/member")
    assert "Refused" in fleet.run("plan", restoring.spec, expect=5).out
    done = fleet.run("restore", restoring.spec, name, "--auto-approve", *restoring.opens)
    print(done)
    assert wait_until(lambda: all(map(plane.ready, FORMS)), timeout=30)
    for server in FORMS:
        assert plane.objects(server) == {"before"}
    restoring.write("then")
    fleet.settled(3)
