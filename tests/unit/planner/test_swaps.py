"""Each two neighbours in the policy's list, swapped, are noticed by some test; those that are not commute for a reason.

What notices: orders that somebody needs, each a small scenario with a reason; laws, on the same scenarios; and the
golden plans of `tests/plans`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import pytest

from etcdplan.diff.target import Target, build_target
from etcdplan.model.facts import ABSENT, known
from etcdplan.model.saved import load_state
from etcdplan.model.state import Data, Record, State
from etcdplan.planner import policy
from etcdplan.planner.policy import RULES, Rule
from etcdplan.planner.unroll import Plan, unroll
from etcdplan.spec.load import load_spec
from tests.plans import golden
from tests.plans.cases import CASES
from tests.plans.clusters import CA
from tests.support.generators import Draft, Pair
from tests.support.model_world import NOW, World, follow
from tests.unit.planner.law_case import Case
from tests.unit.planner.laws import cuts, diff_is_what_rules_propose, ends_well, frugal, transitions

THREE = Draft((("m1", "10.0.0.1"), ("m2", "10.0.0.2"), ("m3", "10.0.0.3")), outage=False)
SERVED = replace(THREE, api_servers=(("cp1", "10.0.1.1", ""), ("cp2", "10.0.1.2", "")))
FOUR = replace(SERVED, members=(*THREE.members, ("m4", "10.0.0.4")))
LAWS = (ends_well, diff_is_what_rules_propose, transitions, frugal, cuts)


@dataclass(frozen=True)
class Order:
    """What must come before what, and why; without `then`: the plan is not refused, or is with the code `first`."""

    draft: Draft
    make: Callable[[World], None]
    first: str = ""
    then: str = ""


def founded(draft: Draft) -> World:
    """Return the truth of a cluster that was founded by its spec."""
    world = World(State({}, now=NOW))
    follow(world, draft.target())
    return world


def begun(world: World) -> None:
    """The first of three founders runs; the power went before the second started."""
    world.state = State({}, now=NOW)
    world.prepare(SERVED.target())
    follow(world, SERVED.target(), effects=6 + 8 + 4)


def founders_on_old_data(world: World) -> None:
    """Two of three founders run on data of an earlier try."""
    begun(world)
    for address in ("10.0.0.2", "10.0.0.3"):
        world.change(address, data=known(Data(SERVED.target().founding_id, 0xA1)))


def silent_and_strange(world: World) -> None:
    """cp2's host does not answer, and m4's host belongs to another cluster."""
    strange(world)
    host = world.state.hosts["10.0.1.2"]
    world.change(host.address, unreachable="it timed out")


def strange(world: World) -> None:
    world.machine("10.0.0.4")
    world.change("10.0.0.4", record=known(Record("other", 0xBEEF)), data=known(Data(0xBEEF, 0xB1)))


def expired_and_down(world: World) -> None:
    host = world.state.hosts["10.0.1.1"]
    leaf = host.leafs["apiserver-cp1"].value
    assert leaf is not None
    unit = replace(host.api_servers["cp1"], process=ABSENT)
    world.change(
        host.address,
        leafs={"apiserver-cp1": known(replace(leaf, not_after=NOW - 1))},
        api_servers={"cp1": unit},
    )


def one_came_back(world: World) -> None:
    """cp2 was away while m4 was removed, and m2 is down."""
    host = world.state.hosts["10.0.1.2"]
    unit = host.api_servers["cp2"]
    settings = {**(unit.settings.value or {}), "etcd-servers": "https://10.0.0.4:2379,https://10.0.0.1:2379"}
    process = unit.process.value
    assert process is not None
    old = replace(unit, settings=known(settings), process=known(replace(process, settings=settings)))
    world.change(host.address, api_servers={"cp2": old})
    kill(world, "10.0.0.2")


def kill(world: World, address: str) -> None:
    world.change(address, etcd=replace(world.state.hosts[address].etcd, process=ABSENT))


def unrecorded_and_lost(world: World) -> None:
    world.change("10.0.0.1", record=ABSENT)
    kill(world, "10.0.0.2")
    world.change("10.0.0.2", data=ABSENT)


def old_data_where_one_comes(world: World) -> None:
    """m4 is added already, and somebody put an old disk into its host."""
    follow(world, FOUR.target(), effects=3 + 1)
    membership = world.state.membership.value
    assert membership is not None
    world.change("10.0.0.4", data=known(Data(membership.cluster_id, 0xA1)))


def points_at_one(world: World) -> None:
    """Somebody took all members but one out of cp1's flags."""
    host = world.state.hosts["10.0.1.1"]
    unit = host.api_servers["cp1"]
    process = unit.process.value
    assert process is not None
    settings = {**process.settings, "etcd-servers": "https://10.0.0.1:2379"}
    new = replace(unit, settings=known(settings), process=known(replace(process, settings=settings)))
    world.change(host.address, api_servers={"cp1": new})


def learner_by_hand(world: World) -> None:
    """m4 was added by a run that was given up, runs as a learner, and the spec wants m5 instead."""
    follow(world, FOUR.target(), effects=3 + 3)


ORDERS = {
    "founders are started before a missing quorum is refused": Order(SERVED, begun),
    "a founding that does not come up is no lost quorum": Order(
        SERVED, founders_on_old_data, "does-not-serve"
    ),
    "a host that does not answer is named before what it could explain": Order(
        FOUR, silent_and_strange, "host-unreachable"
    ),
    "a host of another cluster is named before its data": Order(FOUR, strange, "other-cluster"),
    "a certificate is renewed before the API server that needs it is started": Order(
        SERVED, expired_and_down, "certificate:certificate/cp1", "run-apiserver:apiserver/cp1"
    ),
    "an API server that returns is re-pointed before anything else": Order(
        SERVED, one_came_back, "run-apiserver:apiserver/cp2", "run-etcd:member/m2"
    ),
    "hosts remember the cluster before anything is given up": Order(
        SERVED, unrecorded_and_lost, "seal-host:host/10.0.0.1", "run-apiserver:apiserver/cp1"
    ),
    "old data is out of the way before a newcomer starts on it": Order(
        FOUR, old_data_where_one_comes, "retire-etcd:host/10.0.0.4", "run-etcd:member/m4"
    ),
    "API servers have all endpoints before one of these restarts": Order(
        replace(SERVED, flags={"max-txn-ops": "100"}),
        points_at_one,
        "run-apiserver:apiserver/cp1",
        "run-etcd:member/m1",
    ),
    "a learner that leaves makes room for one that comes": Order(
        replace(SERVED, members=(*THREE.members, ("m5", "10.0.0.5"))),
        learner_by_hand,
        "remove-member:member/m4",
        "add-member:member/m5",
    ),
}


@cache
def scenario(name: str) -> Pair:
    order = ORDERS[name]
    world = founded(SERVED)
    order.make(world)
    target = order.draft.target()
    world.prepare(target)
    return Pair(0, order.draft, target, world.look(target), (name,), world)


def kept(order: Order, plan: Plan) -> bool:
    if not order.then:
        return [refusal.code for refusal in plan.refusals] == [code for code in (order.first,) if code]
    steps = [planned.step.id for planned in plan.steps]
    first, then = (
        next((place for place, step in enumerate(steps) if step.startswith(prefix)), -1)
        for prefix in (order.first, order.then)
    )
    return not plan.refusals and -1 < first < then


@cache
def golden_inputs() -> list[tuple[Target, State]]:
    found = []
    for name in CASES:
        directory = golden.HERE / name
        state = load_state((directory / "live.json").read_bytes(), name)
        found.append((build_target(load_spec(directory / "spec.yaml").spec, ca=CA), state))
    return found


def shown(plan: Plan) -> tuple[list[str], list[str]]:
    return [refusal.code for refusal in plan.refusals], [planned.step.id for planned in plan.steps]


def notices(rules: tuple[Rule, ...], goldens: list[tuple[list[str], list[str]]]) -> Iterator[str]:
    """Yield what notices that the policy has these rules, in this order."""
    policy.RULES = rules
    try:
        for name, order in ORDERS.items():
            case = Case(scenario(name))
            if not kept(order, case.plan):
                yield name
            for law in LAWS:
                yield from (f"{name}: {law.__name__}: {problem}" for problem in law(case))
        for (target, state), expected in zip(golden_inputs(), goldens, strict=True):
            if shown(unroll(target, state)) != expected:
                yield "a golden plan"
    finally:
        policy.RULES = RULES


@pytest.fixture(scope="module")
def goldens() -> list[tuple[list[str], list[str]]]:
    return [shown(unroll(target, state)) for target, state in golden_inputs()]


HARMLESS = {
    (
        "nothing_foreign",
        "nothing_unsupported",
    ): "both only refuse; either names something that must be mended",
    (
        "nothing_unsupported",
        "no_trace_of_another",
    ): "both only refuse; either names something that must be mended",
    (
        "no_trace_of_another",
        "started_by_themselves",
    ): "the first refuses, and not because of what the second takes out of service",
    ("start_down", "returned"): "the second starts what is down before it re-points anything",
    ("start_members", "room_for_data"): "the second only refuses, and is about members without data",
    (
        "room_for_data",
        "start_founders",
    ): "the first only refuses, and a refused plan has no steps to carry out",
    ("quorum_lost", "all_were_asked"): "both only refuse; either names something that must be mended",
    (
        "all_were_asked",
        "off_the_corrupt",
    ): "the first only refuses, and a refused plan has no steps to carry out",
    ("clear", "seal"): "the alarm and what hosts remember of the cluster do not touch each other",
    ("remove_lost", "retire_removed"): "a failed member and one that was removed before are not the same",
    ("retire_removed", "remove_learners"): "what was removed and what still is listed are not the same",
    ("remove_learners", "host_of_newcomer"): "one that leaves and one that comes live on different hosts",
    (
        "add_missing",
        "off_the_leaving",
    ): "members that leave are no reason to re-point while somebody is to come",
    ("remove_leaving", "route_back"): "who leaves and where clients are routed do not touch each other",
    ("final", "restart_units"): "an API server's flags and what else remembers the cluster are not the same",
    ("restart_units", "rolling_change"): "what remembers the cluster and how members run are not the same",
    ("set_up", "dismiss"): "who takes backups from now on and who no longer does are different hosts",
}
"""Neighbours that may be swapped, and why."""


def test_nothing_is_noticed_as_it_is(goldens: list[tuple[list[str], list[str]]]) -> None:
    assert not list(notices(RULES, goldens))


def test_swapped_neighbours_are_noticed(goldens: list[tuple[list[str], list[str]]]) -> None:
    unnoticed = set()
    for place in range(len(RULES) - 1):
        rules = list(RULES)
        rules[place], rules[place + 1] = rules[place + 1], rules[place]
        if next(notices(tuple(rules), goldens), None) is None:
            unnoticed.add((RULES[place].__name__, RULES[place + 1].__name__))
    assert unnoticed == set(HARMLESS), sorted(unnoticed ^ set(HARMLESS))
