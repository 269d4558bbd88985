"""Every membership operation in every cluster of up to seven members, against an independent oracle.

A case is a multiset over {healthy, unhealthy, learner, unstarted, missing} and an operation on one of its members. The
oracle knows no formula: it lets members fail in every combination and looks whether a majority is left.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement

import pytest

from etcdplan.diff.target import Target, build_target
from etcdplan.model.effects import AddLearner, Effect, Promote, Remove
from etcdplan.model.facts import known
from etcdplan.model.server_rules import Operation, Peer, verdict
from etcdplan.model.state import Host, Member, Membership, Record, State
from etcdplan.planner.invariants import Transition, violations
from etcdplan.spec.models import Spec

KINDS = ("healthy", "unhealthy", "learner", "unstarted", "missing")
LISTED = KINDS[:4]
VERSIONS = ("3.5.21", "3.6.16")
"""One that refuses additions while any voter is down, one that needs a quorum only."""
REFUSED_BY_SERVER = "the server would refuse it"


@dataclass(frozen=True)
class Case:
    """`members` in the order of KINDS; the operation is `add`, or `promote` or `remove` of a kind."""

    members: tuple[str, ...]
    operation: str
    kind: str

    @property
    def listed(self) -> list[str]:
        """Return the kinds of those in the member list."""
        return [kind for kind in self.members if kind != "missing"]

    @property
    def after(self) -> list[str]:
        """Return the kinds after the operation; a new learner has not started yet."""
        kinds = list(self.listed)
        if self.operation == "add":
            return [*kinds, "new learner"]
        kinds.remove(self.kind)
        return [*kinds, "healthy"] if self.operation == "promote" else kinds


def cases() -> Iterator[Case]:
    """Yield all of them."""
    for size in range(1, 8):
        for members in combinations_with_replacement(KINDS, size):
            if not any(kind in ("healthy", "unhealthy") for kind in members):
                continue
            if "missing" in members:
                yield Case(members, "add", "missing")
            if "learner" in members:
                yield Case(members, "promote", "learner")
            for kind in dict.fromkeys(members):
                if kind in LISTED:
                    yield Case(members, "remove", kind)


def target_of(size: int, version: str) -> Target:
    """Return the target of a spec with that many members."""
    return build_target(
        Spec.model_validate(
            {
                "apiVersion": "etcdplan/v1",
                "kind": "EtcdCluster",
                "metadata": {"name": "n"},
                "spec": {
                    "etcd": {"version": version},
                    "members": [{"name": f"m{i}", "host": f"10.0.0.{i + 1}"} for i in range(size)],
                    "tls": {"mode": "none", "allowPlaintext": True},
                },
            }
        ),
        ca="",
    )


TARGETS = {(size, version): target_of(size, version) for size in range(1, 8) for version in VERSIONS}


def state_of(case: Case) -> tuple[State, dict[str, str]]:
    """Return the model's state, and a peer URL for each kind."""
    members, urls = {}, {}
    for number, kind in enumerate(case.members):
        url = f"http://10.0.0.{number + 1}:2380"
        urls[kind] = url
        if kind == "missing":
            continue
        name = "" if kind == "unstarted" else f"m{number}"
        serving = kind in ("healthy", "learner")
        members[url] = Member(number + 1, name, url, (), learner=kind == "learner", serving=serving)
    host = Host("10.0.9.9", record=known(Record("n", 1)))
    return State({host.address: host}, known(Membership(1, members))), urls


def ours(case: Case, version: str) -> list[str]:
    """Return what the planner's invariants have against the operation."""
    state, urls = state_of(case)
    url = urls[case.kind]
    effect: Effect = {"add": AddLearner, "promote": Promote, "remove": Remove}[case.operation](url)
    transition = Transition(
        TARGETS[len(case.members), version], effect, state, effect.apply(state), start=state
    )
    return list(violations(transition))


def survives(kinds: list[str]) -> int:
    """Return how many further failures the voters among these survive, tried out; -1 when they cannot write now."""
    voters = [kind for kind in kinds if kind in ("healthy", "unhealthy", "unstarted")]
    alive = [index for index, kind in enumerate(voters) if kind == "healthy"]
    survived = -1
    for failures in range(len(alive) + 1):
        for failed in combinations(alive, failures):
            left = [index for index in alive if index not in failed]
            if 2 * len(left) <= len(voters):
                return survived
        survived = failures
    return survived


def oracle(case: Case) -> bool:
    """D4: the healthy voters are a quorum of the set after it, and tolerance stays at what it was or the spec has."""
    full = survives(["healthy"] * len(case.members))
    before, after = survives(case.listed), survives(case.after)
    busy = case.operation == "add" and any(kind in ("learner", "unstarted") for kind in case.listed)
    return after >= 0 and after >= min(before, full) and not busy


def accepted(case: Case, version: str) -> bool:
    """Whether the server of that version accepts it (`model/server_rules.py` is held against real servers)."""
    peers = [
        Peer(started=kind != "unstarted", learner=kind == "learner", connected=kind in ("healthy", "learner"))
        for kind in case.listed
    ]
    operation = {"add": Operation.ADD_LEARNER, "promote": Operation.PROMOTE, "remove": Operation.REMOVE}
    index = None if case.operation == "add" else case.listed.index(case.kind)
    return verdict(version, peers, operation[case.operation], index, learner_in_sync=True) is None


def cluster_api(case: Case) -> bool:
    """Cluster API's `targetEtcdClusterHealthy`: learners in the target refuse; a new voter counts as unhealthy."""
    kinds = list(case.listed)
    if case.operation == "add":
        kinds.append("healthy" if len(kinds) <= 1 else "unhealthy")
    else:
        kinds.remove(case.kind)
    if any(kind in ("learner", "unstarted") for kind in kinds):
        return False
    return kinds.count("healthy") >= len(kinds) // 2 + 1


ALL = list(cases())


@pytest.mark.parametrize("version", VERSIONS)
def test_the_planner_permits_exactly_what_the_oracle_and_the_server_do(version: str) -> None:
    for case in ALL:
        complaints = ours(case, version)
        arithmetic = [text for text in complaints if not text.startswith(REFUSED_BY_SERVER)]
        assert (not arithmetic) == oracle(case), (case, complaints)
        assert (len(arithmetic) == len(complaints)) == accepted(case, version), (case, complaints)


def test_nothing_that_is_permitted_takes_quorum_or_tolerance() -> None:
    for case in ALL:
        if not ours(case, VERSIONS[1]):
            assert survives(case.after) >= 0
            assert survives(case.after) >= min(
                survives(case.listed), survives(["healthy"] * len(case.members))
            )


DEVIATIONS = {
    ("remove", "refused", "allowed"): 38,
    ("remove", "allowed", "refused"): 195,
}
"""Where the planner and Cluster API differ: (operation, ours, theirs) to the number of cases."""


def test_deviations_from_cluster_api_are_the_listed_ones() -> None:
    """The classes are explained in docs/decisions/0002-membership-arithmetic.md; Cluster API never promotes."""
    words = {True: "allowed", False: "refused"}
    found: Counter[tuple[str, str, str]] = Counter()
    for case in ALL:
        if case.operation != "promote":
            mine, theirs = not ours(case, VERSIONS[1]), cluster_api(case)
            if mine != theirs:
                found[case.operation, words[mine], words[theirs]] += 1
    assert dict(found) == DEVIATIONS


def test_how_many_there_are() -> None:
    assert len(ALL) * len(VERSIONS) > 4000
