"""Founding a cluster, and replacing what failed."""

from dataclasses import replace
from typing import Any

from etcdplan.model.effects import WriteSettings
from etcdplan.model.facts import ABSENT
from etcdplan.model.identity import DEFAULT_CLUSTER
from etcdplan.model.state import ETCD, State
from etcdplan.planner.unroll import unroll
from tests.plans.clusters import (
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
)
from tests.plans.registry import FIVE, STACKED, THREE, Case, case

# Founding.


@case
def bootstrap_1() -> Case:
    spec = spec_of(members(1), api_servers(1), allow_outage=True)
    return spec, bare(spec)


@case
def bootstrap_3() -> Case:
    return THREE, bare(THREE)


@case
def bootstrap_3_from_an_archive() -> Case:
    """The second host has a cluster that a package started by itself, which is taken out of service."""
    spec = spec_of(members(1, 2, 3), source={"archive": "etcd.tar.gz", "sha256": "c0ffee11" * 8})
    return spec, with_data(bare(spec), "10.0.0.2", DEFAULT_CLUSTER)


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
def replace_own_mode_drained() -> Case:
    """A hook of the runner routes the clients of the API server away, and back when it is ready again."""
    spec = spec_of(members(1, 2, 3), api_servers(3), connect="own")
    spec["spec"]["apiServers"]["drain"] = "balancer"
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
def returned_old_etcd() -> Case:
    """member2 was replaced by member4; its etcd, started by hand without data, is between two starts."""
    spec = spec_of(members(1, 3, 4), api_servers(3))
    failed = down(running(THREE, spec), "10.0.0.2")
    replaced = done_all(spec, failed)
    old = replaced.host("10.0.0.2")
    return spec, replaced.with_host(replace(old, etcd=replace(old.etcd, held=False)))


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


@case
def founder_tried_again() -> Case:
    """The first etcd of a new cluster ended at once, again and again; whoever applies again has mended the cause."""
    state = failing(done(THREE, bare(THREE), 6 + 9 + 1), "10.0.0.1")
    return THREE, state.with_host(replace(state.host("10.0.0.1"), data=ABSENT))


@case
def newcomer_tried_again() -> Case:
    """member4 was added, and its etcd ended before it said its name; it is started again."""
    state = done(FIVE, running(THREE, FIVE), 2 + 4 + 1)
    start = unroll(target_of(FIVE), state).steps[0].step
    state = happened(state, *start.effects(state))
    host = state.host("10.0.0.4")
    return FIVE, state.with_host(replace(host, etcd=replace(host.etcd, process=ABSENT, failing=True)))
