"""Refusals, each code at least once; `unproven` and `no-way` would be mistakes of the planner."""

from dataclasses import replace

from etcdplan.model.facts import ABSENT, known, unknown
from etcdplan.model.machine import Machine
from etcdplan.model.settle import lose
from etcdplan.model.state import Data, Member, Unit
from tests.plans.clusters import (
    api_servers,
    bare,
    disk_gone,
    done,
    down,
    failing,
    members,
    running,
    silent,
    spec_of,
    target_of,
    with_data,
    with_record,
)
from tests.plans.registry import FIVE, STACKED, THREE, Case, case


@case
def refused_host_unreachable() -> Case:
    return THREE, silent(running(THREE), "10.0.0.2")


@case
def refused_other_cluster() -> Case:
    return FIVE, with_record(running(THREE, FIVE), "10.0.0.5", "staging", 0xABCDEF)


@case
def refused_two_clusters() -> Case:
    state = running(THREE)
    return THREE, replace(state, clusters=(*state.clusters, 0xABCDEF))


@case
def refused_not_ours() -> Case:
    """A cluster that etcdplan did not make answers on the spec's ports."""
    state = running(THREE)
    membership = state.membership.get()
    assert membership is not None
    other = replace(membership, cluster_id=0xABCDEF)
    state = replace(state, membership=known(other), clusters=(0xABCDEF,))
    for host in state.hosts.values():
        data = known(Data(0xABCDEF, host.data.value.member_id)) if host.data.value else ABSENT
        state = state.with_host(replace(host, data=data, record=ABSENT))
    return THREE, state


@case
def refused_foreign_unstarted() -> Case:
    state = running(THREE)
    membership = state.membership.get()
    assert membership is not None
    url = "https://10.0.0.77:2380"
    newcomer = Member(0x77, "", url, (), learner=True, serving=False)
    return THREE, state.with_members(membership, {**membership.members, url: newcomer})


@case
def refused_foreign_data() -> Case:
    return FIVE, with_data(
        running(THREE, FIVE), "10.0.0.5", 0, foreign="files that are not etcd's (lost+found, pg_wal)"
    )


@case
def refused_scheme_change() -> Case:
    spec = spec_of(members(1, 2, 3))
    spec["spec"]["tls"] = {"mode": "none", "allowPlaintext": True}
    return spec, running(spec_of(members(1, 2, 3)))


@case
def refused_version_change() -> Case:
    return spec_of(members(1, 2, 3), api_servers(3), version="3.7.3"), running(THREE)


@case
def refused_data_moves() -> Case:
    """A new directory would be empty, and the members would panic in it."""
    spec = spec_of(members(1, 2, 3))
    spec["spec"]["etcd"]["dataDir"] = "/srv/etcd"
    return spec, running(spec_of(members(1, 2, 3)))


@case
def refused_clients_move() -> Case:
    spec = spec_of(members(1, 2, 3), api_servers(3))
    spec["spec"]["members"][0]["clientPort"] = 2377
    return spec, running(THREE)


@case
def refused_authority_change() -> Case:
    state = running(THREE)
    host = state.host("10.0.0.2")
    return THREE, state.with_host(replace(host, trust=known(("1d" * 32,))))


@case
def refused_spec_changed() -> Case:
    """A bootstrap of three was begun, and then the spec was changed to five."""
    return FIVE, down(done(THREE, bare(FIVE), 6 + 9 + 1), "10.0.0.1")


@case
def refused_existing_data() -> Case:
    return THREE, with_data(bare(THREE), "10.0.0.2", 0xABCDEF)


@case
def refused_api_server_in_use() -> Case:
    """All of etcd's hosts were wiped, records too; the API servers still know that there was a cluster."""
    state, empty = running(THREE), bare(THREE)
    for n in (1, 2, 3):
        state = state.with_host(empty.host(f"10.0.0.{n}"))
        state = state.with_host(replace(state.host(f"10.0.1.{n}"), record=ABSENT))
    return THREE, lose(replace(state, membership=ABSENT, leader=None, clusters=()))


@case
def refused_founding_does_not_start() -> Case:
    """The first etcd of a new cluster has founded it, and ends again and again on its data."""
    return THREE, failing(done(THREE, bare(THREE), 6 + 9 + 1), "10.0.0.1")


@case
def refused_founding_broken() -> Case:
    """The cluster was founded, and a member lost its data before that was recorded."""
    return THREE, disk_gone(done(THREE, bare(THREE), 6 + 9 + 3), "10.0.0.3")


@case
def refused_founding_does_not_serve() -> Case:
    """The third etcd runs on data of an earlier try, so the others do not know it."""
    state = done(THREE, bare(THREE), 6 + 9 + 3)
    founding = target_of(THREE).founding_id
    state = with_data(state, "10.0.0.3", founding)
    return THREE, lose(state)


@case
def refused_disk_full() -> Case:
    """A member ends again and again for want of space: it is not replaced."""
    state = failing(running(THREE), "10.0.0.2")
    return THREE, state.with_host(replace(state.host("10.0.0.2"), full=True))


@case
def refused_bad_settings() -> Case:
    """The first member that got a new flag does not start with it: the flag is to blame and not the data."""
    spec = spec_of(members(1, 2, 3), extraArgs={"max-txn-opps": "9"})
    return spec, failing(done(spec, running(spec_of(members(1, 2, 3))), 1), "10.0.0.2")


@case
def refused_no_room() -> Case:
    """A member's disk was emptied and what it lost it on is full: nothing is removed before there is room."""
    state = disk_gone(running(THREE), "10.0.0.2")
    return THREE, state.with_host(replace(state.host("10.0.0.2"), full=True))


@case
def refused_host_in_use() -> Case:
    """The spec gives a healthy member another peer port, so that it is another member on the same host."""
    spec = spec_of(members(1, 2, 3))
    spec["spec"]["members"][1]["peerPort"] = 2390
    return spec, running(spec_of(members(1, 2, 3)))


@case
def refused_all_data_gone() -> Case:
    return THREE, disk_gone(running(THREE), "10.0.0.1", "10.0.0.2", "10.0.0.3")


@case
def refused_nobody_answers() -> Case:
    """All end again and again, and the records of the hosts name no members."""
    state = running(THREE)
    for number in (1, 2, 3):
        state = failing(state, f"10.0.0.{number}")
    return THREE, replace(state, last_seen=None)


@case
def refused_quorum_lost_nobody_answers() -> Case:
    """Two have lost their data, and the third ends again and again."""
    return THREE, failing(disk_gone(running(THREE), "10.0.0.2", "10.0.0.3"), "10.0.0.1")


@case
def refused_api_server_not_listed() -> Case:
    """A node leaves with its member and its API server, and the API server still runs."""
    spec = spec_of(members(1, 2), api_servers(2, net=0), connect="own")
    return spec, running(STACKED)


@case
def refused_api_server_missing() -> Case:
    """Somebody gave an API server another name in the spec; its host knows the old one."""
    before = spec_of(members(1, 2, 3), {"cp1": "10.0.1.1"})
    state = running(before)
    host = state.host("10.0.1.1")
    seen = replace(host, api_servers={**host.api_servers, "apiserver-1": Unit(missing=True)})
    return spec_of(members(1, 2, 3), {"apiserver-1": "10.0.1.1"}), state.with_host(seen)


@case
def refused_quorum_lost() -> Case:
    return THREE, disk_gone(running(THREE), "10.0.0.2", "10.0.0.3")


@case
def refused_outage() -> Case:
    return spec_of(members(1), api_servers(1), electionTimeout="2s"), running(
        spec_of(members(1), api_servers(1))
    )


@case
def refused_unobserved() -> Case:
    """A fact is missing although its host answers."""
    state = running(THREE)
    host = state.host("10.0.0.2")
    nothing = unknown("host/10.0.0.2/data", "permission denied: /var/lib/etcd")
    return THREE, state.with_host(replace(host, data=nothing))


@case
def refused_clocks_differ() -> Case:
    """A certificate that is issued now would not be valid yet on its host."""
    state = running(THREE)
    host = state.host("10.0.0.2")
    return THREE, state.with_host(replace(host, leafs={}, machine=Machine(clock_ahead=known(-3600.0))))


@case
def refused_api_server_moves_with_its_member() -> Case:
    """member3 and the API server that uses it go to another host; the old API server still runs."""
    spec = spec_of(members(1, 2, 4), {"cp1": "10.0.0.1", "cp2": "10.0.0.2", "cp3": "10.0.0.4"}, connect="own")
    return spec, running(STACKED, spec)


@case
def refused_override_names_member() -> Case:
    """An API server keeps its events at a member of this very cluster, and that member is lost."""
    state = disk_gone(running(THREE), "10.0.0.2")
    host = state.host("10.0.1.1")
    unit = host.unit("apiserver/cp1")
    settings = {**(unit.settings.get() or {}), "etcd-servers-overrides": "/events#https://10.0.0.2:2379"}
    return THREE, state.with_host(host.with_unit("apiserver/cp1", replace(unit, settings=known(settings))))
