"""Real kube-apiservers beside a member that fails: re-pointed one at a time, each ready before the next."""

import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from etcdplan.hosts.processes import ProcessId
from etcdplan.hosts.supervisor import SupervisedUnit
from etcdplan.hosts.unit_files import UnitFiles
from tests.support import real_outcome
from tests.support.cli import Lab
from tests.support.watching import watched

pytestmark = [pytest.mark.host, pytest.mark.timeout(600)]

SERVERS = {"cp1": 11, "cp2": 12, "cp3": 13}


def ready(url: str) -> bool:
    """Whether an API server says that it is ready, to somebody without credentials."""
    unchecked = ssl._create_unverified_context()  # noqa: S323 - it made its certificate itself
    try:
        with urllib.request.urlopen(url, timeout=1, context=unchecked) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def running(lab: Lab, name: str) -> ProcessId | None:
    """Return the process of an API server."""
    root = lab.root(SERVERS[name]).resolve()
    return SupervisedUnit(root, UnitFiles(root, f"apiserver/{name}").name).process()


@contextmanager
def watched_api_servers(lab: Lab) -> Iterator[list[frozenset[str]]]:
    """Note all the while which API servers do not run, or have not been ready since they were started.

    Each combination once in a row. One that has been ready, as all that run have been when this begins, may be late
    with an answer on a busy machine.
    """
    once_ready = {name: running(lab, name) for name in SERVERS}

    def away_now(name: str) -> bool:
        process = running(lab, name)
        if process and ready(f"https://{lab.address(SERVERS[name])}:6443/readyz"):
            once_ready[name] = process
        return process is None or once_ready.get(name) != process

    with watched(SERVERS, away_now, every=0.05) as seen:
        yield seen


def endpoints(lab: Lab, name: str) -> set[str]:
    """Return the members that a running API server was started with, by their host's number."""
    root = lab.root(SERVERS[name]).resolve()
    files = UnitFiles(root, f"apiserver/{name}")
    process = running(lab, name)
    assert process is not None, f"{name} does not run"
    return {
        url.removeprefix(f"https://{lab.network}.")
        for url in files.settings_of(process.argv())["etcd-servers"].split(",")
    }


def starts(lab: Lab) -> dict[str, int]:
    """Count how often each API server was started."""
    made, _ = real_outcome.made_once(lab)
    return {name: made[f"NETWORK.{number}", f"start apiserver/{name}"] for name, number in SERVERS.items()}


def test_a_member_fails_beside_api_servers_that_know_all_members(lab: Lab) -> None:
    lab.up(3, options=("--with-apiservers",))
    everywhere = {f"{number}:2379" for number in (1, 2, 3)}
    assert all(endpoints(lab, name) == everywhere for name in SERVERS)
    before = starts(lab)
    spec = lab.variant(members={"member1": 1, "member4": 4, "member3": 3})
    lab.break_("member2", "host")
    with watched_api_servers(lab) as away, lab.writers(1, 3) as writers:
        lab.apply(spec)
        assert writers.stop().acknowledged > 0
        assert writers.lost() == 0
    assert max(map(len, away)) == 1, f"at most one at a time, and each ready before the next: {away}"
    assert {frozenset({name}) for name in SERVERS} <= set(away)
    assert not away[-1]
    assert all(endpoints(lab, name) == {"1:2379", "3:2379", "4:2379"} for name in SERVERS)
    # Once away from the lost member, once to the new one.
    assert {name: starts(lab)[name] - before[name] for name in SERVERS} == dict.fromkeys(SERVERS, 2)
    lab.settled(spec)


def test_a_member_fails_beside_api_servers_with_a_member_each(lab: Lab) -> None:
    lab.make(3, api_servers=3)
    own = lab.variant(
        api_servers={
            "connect": "own",
            "instances": [
                {"name": name, "host": lab.address(number), "member": f"member{number - 10}"}
                for name, number in SERVERS.items()
            ],
        }
    )
    lab.apply(own)
    assert {name: endpoints(lab, name) for name in SERVERS} == {
        "cp1": {"1:2379"},
        "cp2": {"2:2379"},
        "cp3": {"3:2379"},
    }
    before = starts(lab)
    lab.break_("member2")
    with watched_api_servers(lab) as away, lab.writers(1, 3) as writers:
        lab.apply(own)
        assert writers.stop().acknowledged > 0
        assert writers.lost() == 0
    assert set(away) <= {frozenset(), frozenset({"cp2"})}, "the others are left alone"
    assert not away[-1]
    assert endpoints(lab, "cp2") == {"2:2379"}
    assert {name: starts(lab)[name] - before[name] for name in SERVERS} == {"cp1": 0, "cp2": 1, "cp3": 0}
    lab.settled(own)
