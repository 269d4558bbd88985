"""A majority is lost on systemd hosts, under real kube-apiservers, and a survivor is what is gone on with."""

import pytest

from etcdplan.hosts.processes import wait_until
from tests.hosts.test_restore_over_ssh import FORMS, Restoring
from tests.hosts.test_restore_over_ssh import restoring as restoring

pytestmark = [pytest.mark.bed, pytest.mark.timeout(600)]


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


def test_a_lost_majority_comes_back_from_a_survivor_that_answers_and_from_one_that_was_killed(
    restoring: Restoring,
) -> None:
    fleet = restoring.fleet
    restoring.write("before")
    lose(restoring, 1, 2)
    refused = fleet.run("plan", restoring.spec, expect=5).out
    assert "what member3 still answers" in " ".join(refused.replace("│", " ").split())
    done = fleet.run("recover", restoring.spec, "--auto-approve", *restoring.opens)
    assert "member3, which answers without quorum" in done.err
    comes_back(restoring, "before")
    restoring.write("then")
    fleet.settled(3)

    lose(restoring, 1, 2)
    kill(restoring, 3)
    done = fleet.run("recover", restoring.spec, "--auto-approve", *restoring.opens)
    assert "Copying what etcd of member3 left" in done.err
    comes_back(restoring, "before", "then")
    fleet.settled(3)
