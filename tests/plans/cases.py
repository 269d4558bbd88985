"""The named cases: each is a spec and what was observed. `pytest tests/plans --update-golden` writes their files."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from etcdplan.model.effects import WriteSettings
from etcdplan.model.facts import ABSENT, known, unknown
from etcdplan.model.settle import lose
from etcdplan.model.state import ETCD, Data, Member, State
from etcdplan.planner.unroll import unroll
from tests.plans.clusters import (
    aged,
    api_server_down,
    api_servers,
    bare,
    disk_gone,
    done,
    down,
    failing,
    happened,
    hung,
    led_by,
    members,
    running,
    silent,
    spec_of,
    target_of,
    with_data,
    with_record,
)

Case: TypeAlias = tuple[dict[str, Any], State]
CASES: dict[str, Callable[[], Case]] = {}

DAY = 86_400
THREE = spec_of(members(1, 2, 3), api_servers(3))
FIVE = spec_of(members(1, 2, 3, 4, 5), api_servers(3))
STACKED = spec_of(members(1, 2, 3), api_servers(3, net=0), connect="own")


def case(make: Callable[[], Case]) -> Callable[[], Case]:
    """Register a case under its function's name."""
    CASES[make.__name__.replace("_", "-")] = make
    return make


# Founding.


@case
def bootstrap_1() -> Case:
    spec = spec_of(members(1), api_servers(1), allow_outage=True)
    return spec, bare(spec)


@case
def bootstrap_3() -> Case:
    return THREE, bare(THREE)


@case
def bootstrap_3_without_api_servers() -> Case:
    spec = spec_of(members(1, 2, 3))
    return spec, bare(spec)


@case
def bootstrap_3_own_mode() -> Case:
    return STACKED, bare(STACKED)


@case
def bootstrap_5() -> Case:
    return FIVE, bare(FIVE)


@case
def bootstrap_half_done() -> Case:
    """Cut after the start of the first member, while the second's settings lay there."""
    steps = 6 + 9 + 1
    state = done(THREE, bare(THREE), steps)
    target = target_of(THREE)
    wanted = target.members["https://10.0.0.2:2380"]
    first = state.host("10.0.0.1").etcd.settings.get() or {}
    settings = {
        **wanted.settings,
        **{flag: value for flag, value in first.items() if flag.startswith("initial-")},
        "initial-advertise-peer-urls": wanted.peer_url,
    }
    return THREE, WriteSettings("10.0.0.2", ETCD, settings).apply(state)


@case
def bootstrap_member_slow_to_serve() -> Case:
    """All three run, the third has not come up: two vote, and nothing may be removed."""
    state = done(THREE, bare(THREE), 6 + 9 + 3)
    return THREE, hung(state, "10.0.0.3")


@case
def bootstrap_member_crashed() -> Case:
    """All three ran, then one ended before the cluster was recorded anywhere."""
    state = done(THREE, bare(THREE), 6 + 9 + 3)
    return THREE, down(state, "10.0.0.3")


@case
def bootstrap_half_sealed() -> Case:
    """Cut while the cluster was being recorded on its hosts, and then a member ended."""
    state = done(THREE, bare(THREE), 6 + 9 + 3 + 1)
    return THREE, down(state, "10.0.0.3")


# Replacing.


@case
def replace_disk_gone() -> Case:
    return THREE, disk_gone(running(THREE), "10.0.0.2")


@case
def replace_new_host() -> Case:
    """The host of member2 is gone; member4 on another host takes its place."""
    spec = spec_of(members(1, 3, 4), api_servers(3))
    return spec, silent(running(THREE, spec), "10.0.0.2")


@case
def replace_new_host_old_one_answers() -> Case:
    spec = spec_of(members(1, 3, 4), api_servers(3))
    return spec, disk_gone(running(THREE, spec), "10.0.0.2")


@case
def replace_new_host_same_name() -> Case:
    """member2 keeps its name on another host."""
    spec = spec_of({"member1": "10.0.0.1", "member2": "10.0.0.9", "member3": "10.0.0.3"}, api_servers(3))
    return spec, silent(running(THREE, spec), "10.0.0.2")


@case
def replace_same_host_new_name() -> Case:
    spec = spec_of({"member1": "10.0.0.1", "member9": "10.0.0.2", "member3": "10.0.0.3"}, api_servers(3))
    return spec, disk_gone(running(THREE, spec), "10.0.0.2")


@case
def replace_two_of_five() -> Case:
    return FIVE, disk_gone(running(FIVE), "10.0.0.2", "10.0.0.4")


@case
def replace_two_of_five_new_hosts() -> Case:
    spec = spec_of(members(1, 3, 5, 6, 7), api_servers(3))
    return spec, silent(running(FIVE, spec), "10.0.0.2", "10.0.0.4")


@case
def replace_failed_leader() -> Case:
    """member1 led when its disk died; another has been elected."""
    return THREE, led_by(disk_gone(led_by(running(THREE), "10.0.0.1"), "10.0.0.1"), "10.0.0.2")


@case
def replace_own_mode() -> Case:
    spec = spec_of(members(1, 2, 3), api_servers(3), connect="own")
    return spec, disk_gone(running(spec), "10.0.0.2")


@case
def replace_own_mode_stacked_host_gone() -> Case:
    """A stacked control plane loses a whole host, API server and member; both come back on another."""
    spec = spec_of(members(1, 2, 4), {"cp1": "10.0.0.1", "cp2": "10.0.0.2", "cp4": "10.0.0.4"}, connect="own")
    return spec, silent(running(STACKED, spec), "10.0.0.3")


@case
def replace_stacked_host_gone_api_server_kept() -> Case:
    """As before with all endpoints in all flags, and the spec still names the API server on the lost host."""
    before = spec_of(members(1, 2, 3), api_servers(3, net=0))
    spec = spec_of(members(1, 2, 4), api_servers(3, net=0))
    return spec, silent(running(before, spec), "10.0.0.3")


@case
def replace_load_balancer() -> Case:
    spec = spec_of(members(1, 2, 3), api_servers(2), connect={"loadBalancer": "https://10.0.9.1:2379"})
    return spec, disk_gone(running(spec), "10.0.0.2")


@case
def replace_crash_looping() -> Case:
    return THREE, failing(running(THREE), "10.0.0.2")


@case
def replace_on_etcd_3_4() -> Case:
    spec = spec_of(members(1, 2, 3), api_servers(2), version="3.4.45")
    state = running(spec)
    membership = state.membership.get()
    assert membership is not None
    old = {url: replace(member, version="3.4.45") for url, member in membership.members.items()}
    return spec, disk_gone(state.with_members(membership, old), "10.0.0.2")


@case
def replace_cut_after_removal() -> Case:
    """A run died when the failed member was out of the list and its successor not in it."""
    state = disk_gone(running(THREE), "10.0.0.2")
    return THREE, done(THREE, state, 3 + 1 + 1)


@case
def replace_cut_after_addition() -> Case:
    state = disk_gone(running(THREE), "10.0.0.2")
    return THREE, done(THREE, state, 3 + 1 + 1 + 1)


@case
def returned_old_host() -> Case:
    """member2 was replaced by member4 while its host was away; now the host is back, and its etcd tries to join."""
    spec = spec_of(members(1, 3, 4), api_servers(3))
    old = running(THREE, spec)
    replaced = done_all(spec, silent(old, "10.0.0.2"))
    return spec, replaced.with_host(old.host("10.0.0.2"))


@case
def returned_api_server() -> Case:
    """The same with an API server on the host that was away: it still names the removed member."""
    before = spec_of(members(1, 2, 3), api_servers(3, net=0))
    spec = spec_of(members(1, 2, 4), api_servers(3, net=0))
    old = running(before, spec)
    return spec, done_all(spec, silent(old, "10.0.0.3")).with_host(old.host("10.0.0.3"))


def done_all(spec: dict[str, Any], state: State) -> State:
    """Return the state after the whole plan."""
    return done(spec, state, 0)  # the last step, at index -1


# Scaling and moving.


@case
def scale_1_to_3() -> Case:
    before = spec_of(members(1), api_servers(1))
    spec = spec_of(members(1, 2, 3), api_servers(1))
    return spec, running(before, spec)


@case
def scale_3_to_5() -> Case:
    return FIVE, running(THREE, FIVE)


@case
def scale_3_to_5_own_mode_and_another_api_server() -> Case:
    spec = spec_of(
        members(1, 2, 3, 4, 5),
        {**api_servers(3, net=0), "cp4": "10.0.0.4", "cp5": "10.0.0.5"},
        connect="own",
    )
    return spec, running(STACKED, spec)


@case
def scale_5_to_3() -> Case:
    return THREE, led_by(running(FIVE), "10.0.0.4")


@case
def scale_5_to_3_with_one_failed() -> Case:
    """One of those that stay has failed: it is replaced before healthy ones go."""
    return THREE, disk_gone(running(FIVE), "10.0.0.2")


@case
def scale_3_to_5_with_one_failed() -> Case:
    return FIVE, disk_gone(running(THREE, FIVE), "10.0.0.2")


@case
def scale_3_to_1() -> Case:
    spec = spec_of(members(1), api_servers(3))
    return spec, running(THREE)


@case
def move_all_members() -> Case:
    spec = spec_of(members(4, 5, 6), api_servers(3))
    return spec, led_by(running(THREE, spec), "10.0.0.1")


@case
def move_one_member() -> Case:
    """member2 is healthy and goes to another host under its own name."""
    spec = spec_of({"member1": "10.0.0.1", "member2": "10.0.0.9", "member3": "10.0.0.3"}, api_servers(3))
    return spec, running(THREE, spec)


@case
def refused_api_server_moves_with_its_member() -> Case:
    """member3 and the API server that uses it go to another host; the old API server still runs."""
    spec = spec_of(members(1, 2, 4), {"cp1": "10.0.0.1", "cp2": "10.0.0.2", "cp3": "10.0.0.4"}, connect="own")
    return spec, running(STACKED, spec)


# Settings, and what time and accidents do.


@case
def rolling_flag_change() -> Case:
    spec = spec_of(members(1, 2, 3), api_servers(3), extraArgs={"max-txn-ops": "200"}, quotaBackend="4GiB")
    return spec, led_by(running(THREE), "10.0.0.1")


@case
def rolling_flag_change_on_one_member() -> Case:
    """One member runs with other settings than its file has: somebody changed them by hand."""
    state = running(THREE)
    host = state.host("10.0.0.2")
    process = host.etcd.process.get()
    assert process is not None
    old = replace(process, settings={**process.settings, "heartbeat-interval": "50"})
    return THREE, state.with_host(replace(host, etcd=replace(host.etcd, process=known(old))))


@case
def rolling_flag_change_single_member() -> Case:
    before = spec_of(members(1), api_servers(1), allow_outage=True)
    spec = spec_of(members(1), api_servers(1), allow_outage=True, electionTimeout="2s")
    return spec, running(before)


@case
def api_server_flags() -> Case:
    spec = spec_of(members(1, 2, 3), api_servers(3))
    spec["spec"]["apiServers"]["flags"] = {"etcd-compaction-interval": "5m"}
    return spec, running(THREE)


@case
def member_down() -> Case:
    return THREE, down(running(THREE), "10.0.0.2")


@case
def member_down_of_three_and_quorum_lost() -> Case:
    """Two are down with their data: starting them cures it."""
    return THREE, down(running(THREE), "10.0.0.2", "10.0.0.3")


@case
def all_members_down() -> Case:
    """A power cut: nobody answers, the hosts remember, and the API servers are down too."""
    state = down(running(THREE), "10.0.0.1", "10.0.0.2", "10.0.0.3")
    for number in (1, 2, 3):
        state = api_server_down(state, f"10.0.1.{number}", f"cp{number}")
    return THREE, state


@case
def member_down_and_changed_settings() -> Case:
    spec = spec_of(members(1, 2, 3), api_servers(3), extraArgs={"max-txn-ops": "200"})
    return spec, down(running(THREE), "10.0.0.2")


@case
def member_hung() -> Case:
    return THREE, hung(running(THREE), "10.0.0.2")


@case
def leader_hung() -> Case:
    return THREE, hung(led_by(running(THREE), "10.0.0.1"), "10.0.0.1")


@case
def certificate_expiring() -> Case:
    """All certificates of a year ago, 20 days before their end."""
    return THREE, aged(running(THREE), 345 * DAY)


@case
def certificate_expired() -> Case:
    """All have expired, and nobody talks to anybody."""
    state = aged(running(THREE), 366 * DAY)
    return THREE, down(state, "10.0.0.1", "10.0.0.2", "10.0.0.3")


@case
def api_server_is_down() -> Case:
    return THREE, api_server_down(running(THREE), "10.0.1.2", "cp2")


@case
def api_server_added() -> Case:
    return spec_of(members(1, 2, 3), api_servers(4)), running(
        THREE, FIVE, spec_of(members(1), api_servers(4))
    )


@case
def no_changes() -> Case:
    return THREE, running(THREE)


@case
def newcomer_crash_looping() -> Case:
    """A learner that once came up ends again and again; it has no data of its own yet."""
    return FIVE, failing(done(FIVE, running(THREE, FIVE), 2 + 4 + 2), "10.0.0.4")


# Refusals, each code at least once; `unproven` and `no-way` would be mistakes of the planner.


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
    """The first etcd of a new cluster ends at once."""
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
def refused_newcomer_does_not_start() -> Case:
    """member4 was added, and its etcd ends before it says its name."""
    state = done(FIVE, running(THREE, FIVE), 2 + 4 + 1)
    start = unroll(target_of(FIVE), state).steps[0].step
    state = happened(state, *start.effects(state))
    host = state.host("10.0.0.4")
    return FIVE, state.with_host(replace(host, etcd=replace(host.etcd, process=ABSENT, failing=True)))


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
