"""What is seen, what is not there, and what could not be seen are three things."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from etcdplan.hosts.ports import EtcdReport, HostReport, ListedMember, ManagedHost
from etcdplan.model.facts import ABSENT, Fact, UnknownFact, known
from etcdplan.model.machine import Figures
from etcdplan.observe.collect import observe
from etcdplan.observe.membership import compose
from tests.support.fake_ports import FakeHost
from tests.support.fake_runs import CREDENTIALS, Runner
from tests.support.fake_world import FakeWorld
from tests.support.scenarios import founded, make_spec

SPEC = make_spec(3, api_servers=1)


@pytest.fixture
def world() -> FakeWorld:
    return founded(spec=SPEC)


def test_a_founded_cluster_is_seen_whole(world: FakeWorld) -> None:
    state = Runner(world, SPEC).observe()
    membership = state.membership.get()
    assert membership is not None
    assert [(m.name, m.learner, m.serving) for m in membership.members.values()] == [
        (f"member{i}", False, True) for i in (1, 2, 3)
    ]
    assert state.leader in membership.members
    assert Runner(world, SPEC).plan().steps == ()


def test_an_unreachable_host_is_unknown_and_not_empty(world: FakeWorld) -> None:
    world.cut_network("10.0.0.2")
    host = Runner(world, SPEC).observe().host("10.0.0.2")
    assert host.unreachable
    for fact in (
        host.data,
        host.record,
        host.trust,
        host.etcd.process,
        host.etcd.settings,
        host.leaf("server"),
    ):
        with pytest.raises(UnknownFact):
            fact.get()
    assert Runner(world, SPEC).plan().refusals[0].exit_code == 8


def test_an_api_server_that_its_host_does_not_have_is_missing(world: FakeWorld) -> None:
    """Where it is not known what a host can run, none is."""
    runner = Runner(world, SPEC)
    (server,) = runner.target.api_servers.values()
    for installed, missing in ((None, False), (frozenset({"other"}), True), (frozenset({"cp1"}), False)):

        class Host:
            def __init__(self, address: str) -> None:
                self._real = runner.hosts.host(address)

            def inspect(self, **how: Any) -> HostReport:
                return replace(self._real.inspect(**how), installed=installed)  # noqa: B023

            def __getattr__(self, name: str) -> Any:
                return getattr(self._real, name)

        hosts = SimpleNamespace(host=Host)
        state = observe(runner.target, hosts, CREDENTIALS, now=0)  # type: ignore[arg-type]
        assert state.host(server.host).unit(server.unit).missing == missing


def test_nobody_is_looked_at_twice(world: FakeWorld) -> None:
    """A hint that does not answer is also in the member list."""
    spec = make_spec(hosts=["10.0.0.1", "10.0.0.2"], api_servers=1)
    world.cut_network("10.0.0.3")
    runner = Runner(world, spec)
    asked: list[str] = []

    class Watched:
        def host(self, address: str) -> ManagedHost:
            asked.append(address)
            return world.controller("watcher").host(address)

    state = observe(runner.target, Watched(), CREDENTIALS, now=0, hints=["10.0.0.1", "10.0.0.3", "10.0.0.99"])
    assert sorted(asked) == ["10.0.0.1", "10.0.0.11", "10.0.0.2", "10.0.0.3", "10.0.0.99"]
    assert set(state.hosts) == {"10.0.0.1", "10.0.0.11", "10.0.0.2", "10.0.0.3"}
    assert state.hosts["10.0.0.3"].unreachable


@pytest.mark.parametrize("fact", ["data", "record", "etcd.process", "etcd.settings", "trust", "leaf/server"])
def test_a_hidden_fact_refuses_the_plan(fact: str, world: FakeWorld) -> None:
    world.hide("10.0.0.2", fact)
    refusal = Runner(world, SPEC).plan().refusals[0]
    assert refusal.exit_code == 8
    assert "10.0.0.2" in refusal.subject


def test_what_is_not_there_is_absent(world: FakeWorld) -> None:
    world.lose_disk("10.0.0.2")
    assert Runner(world, SPEC).observe().host("10.0.0.2").data.get() is None


def report(member: int, members: str, *, cluster: int = 1, confirmed: bool = True) -> EtcdReport:
    """Return an answer; `members` has a digit for each listed ID."""
    listed = tuple(
        ListedMember(int(d), f"m{d}", (f"http://{d}:2380",), (), is_learner=False) for d in members
    )
    return EtcdReport(cluster, member, "3.6.16", 1, False, confirmed, confirmed, listed)


def test_member_lists_that_disagree_are_unknown() -> None:
    fact, _ = compose([report(1, "123"), report(2, "12")], remembered=True)
    with pytest.raises(UnknownFact, match="disagree"):
        fact.get()


def test_two_clusters_are_unknown() -> None:
    fact, _ = compose([report(1, "12"), report(2, "12", cluster=2)], remembered=True)
    with pytest.raises(UnknownFact, match="more than one cluster"):
        fact.get()


def test_a_list_without_quorum_does_not_count_beside_one_with() -> None:
    fact, leader = compose([report(1, "12"), report(3, "123", confirmed=False)], remembered=True)
    membership = fact.get()
    assert membership is not None
    assert sorted(membership.members) == ["http://1:2380", "http://2:2380"]
    assert leader == "http://1:2380"


def test_silence_is_absence_only_when_nobody_remembers() -> None:
    assert compose([], remembered=False)[0].get() is None
    with pytest.raises(UnknownFact):
        compose([], remembered=True)[0].get()


def test_an_etcd_is_measured_only_when_that_is_asked_for(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that hangs is unknown, one that does not run has nothing to tell."""
    seen = known(Figures(database=1, fsync=None, commit=None, round_trip=None))
    monkeypatch.setattr(FakeHost, "measure_etcd", lambda *_, **__: seen)
    world.hang("10.0.0.2")
    world.kill("10.0.0.3")
    runner = Runner(world, SPEC)

    def figures(*, measure: bool) -> list[Fact[Figures]]:
        state = observe(runner.target, world.controller("r"), CREDENTIALS, now=0, measure=measure)
        return [state.host(f"10.0.0.{number}").machine.figures for number in (1, 2, 3)]

    assert figures(measure=False) == [ABSENT] * 3
    first, second, third = figures(measure=True)
    assert (first, second.why, third) == (seen, "its etcd does not answer", ABSENT)
