"""A state without what may differ between two clusters that went the same way: IDs, times, who leads."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from etcdplan.model.facts import Fact
from etcdplan.model.settle import settle
from etcdplan.model.state import Host, Member, Membership, State, Unit


def matches(seen: State, declared: State) -> bool:
    """Whether a state is the declared one; hosts that nobody names any more may have gone out of sight."""
    rest = replace(declared, hosts={address: declared.hosts[address] for address in seen.hosts})
    return bool(shape(seen) == shape(rest))


def shape(state: State) -> Any:
    """Return the settled state in comparable form."""
    state = settle(state)
    membership = state.membership.value
    url_of = {member.id: url for url, member in membership.members.items()} if membership else {}
    return (
        len(state.clusters) > 1,
        _fact(state.membership, _members),
        {address: _host(host, url_of) for address, host in sorted(state.hosts.items())},
    )


def _fact(fact: Fact[Any], of: Callable[[Any], Any] = lambda value: value) -> Any:
    return f"unknown: {fact.name}" if fact.is_unknown else None if fact.value is None else of(fact.value)


def _members(membership: Membership) -> Any:
    def shown(member: Member) -> Member:
        return replace(member, id=0, version="")

    return {url: shown(member) for url, member in sorted(membership.members.items())}


def _host(host: Host, url_of: dict[int, str]) -> Any:
    return (
        _unit(host.etcd),
        _fact(
            host.data, lambda data: (data.cluster_id, url_of.get(data.member_id, "not listed"), data.foreign)
        ),
        {name: _fact(leaf) for name, leaf in sorted(host.leafs.items())},
        _fact(host.trust),
        _fact(host.record),
        {name: _unit(unit) for name, unit in sorted(host.api_servers.items())},
        _fact(host.job),
        bool(host.unreachable),
    )


def _unit(unit: Unit) -> Any:
    process = unit.process.value
    running = process and (dict(process.settings), process.answering, process.hung)
    return _fact(unit.settings, dict), running, unit.process.is_unknown, unit.held, unit.failing, unit.drained
