"""What is seen, what is not there, and what could not be seen are three things."""

import pytest

from etcdplan.hosts.ports import EtcdReport, ListedMember
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
