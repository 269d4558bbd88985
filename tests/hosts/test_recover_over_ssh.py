"""A majority is lost on systemd hosts, under real kube-apiservers, and a survivor is what is gone on with."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from etcdplan.hosts.processes import wait_until
from tests.hosts.test_restore_over_ssh import FORMS, Restoring
from tests.support.fleet import Fleet

pytestmark = [pytest.mark.bed, pytest.mark.timeout(600)]


@pytest.fixture
def restoring(tmp_path: Path) -> Iterator[Restoring]:
    """Three hosts with a member and an API server each."""
    with Fleet.up(tmp_path, 3) as fleet:
        yield Restoring(fleet, tmp_path, 3)


def kill(restoring: Restoring, number: int) -> None:
    host = restoring.fleet.host(number)
    host.exec("systemctl", "kill", "--signal=KILL", "etcd")
    host.exec("systemctl", "stop", "etcd")


def lose(restoring: Restoring, *numbers: int) -> None:
    for number in numbers:
        kill(restoring, number)
        restoring.fleet.host(number).exec("sh", "-c", "rm -rf /var/lib/etcd/member")


def comes_back(restoring: Restoring, *objects: str) -> None:
    plane = restoring.plane
    assert wait_until(lambda: all(map(plane.ready, FORMS)), timeout=30)
    for server in FORMS:
        assert plane.objects(server) == set(objects)


def test_a_lost_majority_comes_back_from_a_survivor(restoring: Restoring) -> None:
    """From one that was killed; with ETCDPLAN_EVERY_POINT=1 from one that answers, too."""
    fleet = restoring.fleet
    restoring.write("before")
    lose(restoring, 1, 2)
    refused = fleet.run("plan", restoring.spec, expect=5).out
    assert "what member3 still answers" in " ".join(refused.replace("│", " ").split())
    there = ["before"]
    if os.environ.get("ETCDPLAN_EVERY_POINT") == "1":
        done = fleet.run("recover", restoring.spec, "--auto-approve", *restoring.opens)
        assert "member3, which answers without quorum" in done.err
        comes_back(restoring, "before")
        restoring.write("then")
        there.append("then")
        fleet.settled(3)
        lose(restoring, 1, 2)

    kill(restoring, 3)
    done = fleet.run("recover", restoring.spec, "--auto-approve", *restoring.opens)
    assert "Copying what etcd of member3 left" in done.err
    comes_back(restoring, *there)
    fleet.settled(3)
