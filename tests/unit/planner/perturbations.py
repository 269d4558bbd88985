"""States that call for the same plan: another leader, other IDs, another order."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from etcdplan.model.facts import Fact
from etcdplan.model.state import Membership, State
from tests.unit.planner.law_case import Case


def other_leader(case: Case) -> State | None:
    """Let another voter lead."""
    membership = case.pair.state.membership.value
    voters = [m.peer_url for m in membership.voters() if m.serving] if membership else []
    return replace(case.pair.state, leader=case.rng("leader").choice(voters)) if voters else None


def other_ids(case: Case) -> State | None:
    """Let the cluster have allocated other member IDs."""
    state = case.pair.state
    if case.restores:
        return None  # These IDs follow from the restore.
    if state.membership.value is None or not any(host.record.value for host in state.hosts.values()):
        return None

    def other(number: int) -> int:
        return number ^ 0x5A5A5A5A

    def renumbered(members: Membership) -> Membership:
        return replace(
            members, members={url: replace(m, id=other(m.id)) for url, m in members.members.items()}
        )

    hosts = {
        address: replace(
            host, data=Fact(replace(host.data.value, member_id=other(host.data.value.member_id)))
        )
        if host.data.value
        else host
        for address, host in state.hosts.items()
    }
    last = renumbered(state.last_seen) if state.last_seen else None
    return replace(state, hosts=hosts, membership=Fact(renumbered(state.membership.value)), last_seen=last)


def other_order(case: Case) -> State:
    """Let everything have been looked at in another order."""
    rng = case.rng("order")

    def shuffled(mapping: Mapping[str, Any]) -> dict[str, Any]:
        items = list(mapping.items())
        rng.shuffle(items)
        return dict(items)

    state = case.pair.state
    hosts = {
        address: replace(host, leafs=shuffled(host.leafs), api_servers=shuffled(host.api_servers))
        for address, host in shuffled(state.hosts).items()
    }
    membership = state.membership
    if membership.value is not None:
        membership = Fact(replace(membership.value, members=shuffled(membership.value.members)))
    return replace(state, hosts=hosts, membership=membership)
