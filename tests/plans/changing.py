"""Scaling, moving, settings, and what time and accidents do."""

from dataclasses import replace

from etcdplan.model.effects import RouteClients
from etcdplan.model.facts import known
from tests.plans.clusters import (
    aged,
    api_server_down,
    api_servers,
    disk_gone,
    done,
    down,
    failing,
    happened,
    hung,
    led_by,
    members,
    running,
    spec_of,
)
from tests.plans.registry import DAY, FIVE, STACKED, THREE, Case, case

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
def api_server_flags_own_mode_drained() -> Case:
    """Clients are away before each restart, and back before the next; from the second they are already."""
    spec = spec_of(members(1, 2, 3), api_servers(3), connect="own")
    spec["spec"]["apiServers"]["drain"] = "balancer"
    state = running(spec)
    spec["spec"]["apiServers"]["flags"] = {"etcd-compaction-interval": "5m"}
    return spec, happened(state, RouteClients("10.0.1.2", "apiserver/cp2", "balancer", away=True))


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
