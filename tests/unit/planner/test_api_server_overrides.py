"""Resources that an API server keeps elsewhere: what the spec does not name stays, and never names a removed member."""

from dataclasses import replace

import pytest

from etcdplan.diff.changes import diff
from etcdplan.model.endpoints import named, overrides, servers
from etcdplan.model.facts import known
from etcdplan.model.state import State, api_server_unit
from etcdplan.planner.unroll import unroll
from tests.plans.clusters import api_servers, disk_gone, members, running, spec_of, target_of

EVENTS = "/events#https://10.9.0.1:2379;https://10.9.0.2:2379"
SPEC = spec_of(members(1, 2, 3), api_servers(2))


def with_flags(state: State, **flags: str) -> State:
    """Return the state with further flags about etcd on the disk of cp1, and in its process."""
    host = state.host("10.0.1.1")
    unit = host.unit(api_server_unit("cp1"))
    process = unit.process.get()
    assert process is not None
    more = {name.replace("_", "-"): value for name, value in flags.items()}
    there = replace(
        unit,
        settings=known({**(unit.settings.get() or {}), **more}),
        process=known(replace(process, settings={**process.settings, **more})),
    )
    return state.with_host(host.with_unit(api_server_unit("cp1"), there))


def with_spec_flags(**flags: str) -> dict[str, object]:
    spec = spec_of(members(1, 2, 3), api_servers(2))
    spec["spec"]["apiServers"]["flags"] = {name.replace("_", "-"): value for name, value in flags.items()}
    return spec


def test_all_endpoints_are_found() -> None:
    flags = {
        "etcd-servers": "https://a:1,https://b:1",
        "etcd-servers-overrides": "/events#https://c:1/;https://d:1,apps/deployments#https://e:1",
    }
    assert servers(flags) == {"https://a:1", "https://b:1"}
    assert overrides(flags) == {"https://c:1", "https://d:1", "https://e:1"}
    assert named(flags) == servers(flags) | overrides(flags)
    assert named({}) == frozenset()


def test_what_the_spec_does_not_name_stays() -> None:
    state = with_flags(running(SPEC), etcd_servers_overrides=EVENTS, etcd_prefix="/elsewhere")
    assert diff(target_of(SPEC), state) == ()
    plan = unroll(target_of(SPEC), disk_gone(state, "10.0.0.2"))
    written = [step.step.params()["settings"] for step in plan.steps if step.step.subject == "apiserver/cp1"]
    assert len(written) == 2
    assert all(settings["etcd-servers-overrides"] == EVENTS for settings in written)
    assert all(settings["etcd-prefix"] == "/elsewhere" for settings in written)


@pytest.mark.parametrize("wanted", ["", "/events#https://10.9.0.3:2379"])
def test_the_spec_decides_when_it_says_something(wanted: str) -> None:
    spec = with_spec_flags(etcd_servers_overrides=wanted)
    state = with_flags(running(SPEC), etcd_servers_overrides=EVENTS)
    plan = unroll(target_of(spec), state)
    changes = {change.address: change.after for change in plan.changes}
    assert changes["apiserver/cp1/flag/etcd-servers-overrides"] == wanted
    assert not plan.refusals


def test_a_member_that_an_override_names_is_not_removed() -> None:
    state = with_flags(running(SPEC), etcd_servers_overrides="/events#https://10.0.0.2:2379")
    plan = unroll(target_of(SPEC), disk_gone(state, "10.0.0.2"))
    assert [refusal.code for refusal in plan.refusals] == ["override-names-member"]
    assert "https://10.0.0.2:2379" in plan.refusals[0].message


def test_a_member_that_an_override_named_is_removed_after_the_spec_says_where_else() -> None:
    state = with_flags(running(SPEC), etcd_servers_overrides="/events#https://10.0.0.2:2379")
    spec = with_spec_flags(etcd_servers_overrides="")
    plan = unroll(target_of(spec), disk_gone(state, "10.0.0.2"))
    assert not plan.refusals
    kinds = [planned.step.kind for planned in plan.steps]
    assert kinds.index("run-apiserver") < kinds.index("remove-member")


def test_one_that_nobody_listed_holds_a_removal_up() -> None:
    state = with_flags(running(SPEC), etcd_servers_overrides="/events#https://10.0.0.2:2379")
    spec = spec_of(members(1, 2, 3), {"cp2": "10.0.1.2"})
    plan = unroll(target_of(spec), disk_gone(state, "10.0.0.2"))
    assert [refusal.code for refusal in plan.refusals] == ["api-server-not-listed"]
