"""Steps list what is left to do, and nothing more."""

from dataclasses import replace

import pytest

from etcdplan.diff.view import View
from etcdplan.model.effects import (
    Hold,
    MoveLeader,
    Remove,
    SetDataAside,
    Start,
    Stop,
    WriteRecord,
    WriteSettings,
)
from etcdplan.model.facts import ABSENT, known
from etcdplan.model.state import Host, Leaf, State
from etcdplan.planner.unroll import unroll
from etcdplan.steps.membership import RemoveMember
from etcdplan.steps.retire_etcd import RetireEtcd
from etcdplan.steps.seal_host import SealHost
from tests.support.scenarios import make_spec, target_of

SPEC = make_spec(3)
TARGET = target_of(SPEC)
URLS = list(TARGET.members)


@pytest.fixture(scope="module")
def running() -> State:
    plan = unroll(TARGET, State({host: Host(host) for host in TARGET.hosts()}))
    assert not plan.refusals
    return plan.steps[-1].after


def changed(url: str, state: State) -> tuple[object, ...]:
    """Return the effects of running a member with another setting."""
    step = View(TARGET, state).etcd(TARGET.members[url])
    return replace(step, settings={**step.settings, "max-txn-ops": "99"}).effects(state)


def test_a_leader_hands_over_before_it_is_stopped(running: State) -> None:
    leads = replace(running, leader=URLS[1])
    kinds = [type(effect) for effect in changed(URLS[1], leads)]
    assert kinds == [WriteSettings, MoveLeader, Stop, Start]
    assert [type(effect) for effect in changed(URLS[0], leads)] == [WriteSettings, Stop, Start]


def test_a_leader_hands_over_before_it_is_removed(running: State) -> None:
    leads = replace(running, leader=URLS[1])
    assert [type(effect) for effect in RemoveMember("m", URLS[1]).effects(leads)] == [MoveLeader, Remove]
    assert [type(effect) for effect in RemoveMember("m", URLS[0]).effects(leads)] == [Remove]


def test_the_leadership_goes_to_one_that_stays(running: State) -> None:
    leads = replace(running, leader=URLS[0])
    first = RemoveMember("m", URLS[0], frozenset({URLS[2]})).effects(leads)[0]
    assert first == MoveLeader(URLS[2])


def test_nothing_is_left_of_what_is_there(running: State) -> None:
    for wanted in TARGET.members.values():
        assert View(TARGET, running).etcd(wanted).effects(running) == ()


def test_data_is_set_aside_only_when_the_process_is_held(running: State) -> None:
    """And the leader hands over before it is held."""
    for host, first in (("10.0.0.1", [MoveLeader]), ("10.0.0.2", [])):
        step = RetireEtcd("m", host, forget=False)
        assert [type(effect) for effect in step.effects(running)] == [*first, Hold, SetDataAside]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda leaf, now: replace(leaf, key_matches=False), "its key does not belong to it"),
        (lambda leaf, now: replace(leaf, issuer=""), "not signed by the CA"),
        (lambda leaf, now: replace(leaf, not_before=now + 1), "is not valid yet"),
        (lambda leaf, now: replace(leaf, not_after=now), "has expired"),
        (lambda leaf, now: replace(leaf, not_after=now + 86_400), "expires soon"),
        (lambda leaf, now: replace(leaf, sans=leaf.sans[1:]), "lacks 10.0.0.1"),
        (lambda leaf, now: replace(leaf, usages=("server",)), "may not be used as client"),
    ],
)
def test_a_bad_certificate_is_issued_again(spoil: object, says: str, running: State) -> None:
    assert callable(spoil)
    host = running.host("10.0.0.1")
    leaf = host.leaf("server").get()
    assert isinstance(leaf, Leaf)
    bad = running.with_host(replace(host, leafs={**host.leafs, "server": known(spoil(leaf, running.now))}))
    step = next(View(TARGET, bad).certificates(TARGET.members[URLS[0]]))
    assert says in (step.wrong(bad) or "")
    assert [planned.step.id for planned in unroll(TARGET, bad).steps] == [step.id]


def test_a_new_host_is_told_what_the_others_remember_of_restores(running: State) -> None:
    for url in URLS[:2]:
        host = running.host(TARGET.members[url].host)
        record = host.record.get()
        assert record is not None
        told = replace(
            record, former=(7,), began=5, gone=("10.9.9.9",), servers=("10.0.0.11",), restart=("k",)
        )
        running = running.with_host(replace(host, record=known(told)))
    new = running.host(TARGET.members[URLS[2]].host)
    running = running.with_host(replace(new, record=ABSENT))
    [effect] = SealHost(TARGET.cluster, new.address).effects(running)
    assert isinstance(effect, WriteRecord)
    found = effect.record
    assert (found.former, found.began, found.gone, found.servers) == (
        (7,),
        5,
        ("10.9.9.9",),
        ("10.0.0.11",),
    )
    assert (found.restart, found.restore) == ((), None)
