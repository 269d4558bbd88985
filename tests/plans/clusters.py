"""Specs and observed states for cases: a cluster is founded by a plan of its own, and then something befalls it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from etcdplan.diff.target import Target, build_target
from etcdplan.model.effects import Effect
from etcdplan.model.facts import ABSENT, known, unknown
from etcdplan.model.settle import lose
from etcdplan.model.state import ETCD, Data, Host, Record, State, Unit, api_server_unit
from etcdplan.planner.unroll import unroll
from etcdplan.spec.models import Spec

CA = "5f2a9c81d3e4b7061a2b3c4d5e6f708192a3b4c5d6e7f80912a3b4c5d6e7f809"
NOW = 1_767_225_600  # 2026-01-01
VERSION = "3.6.16"
NO_ANSWER = "no answer on port 22 within 10s"


def spec_of(
    members: dict[str, str],
    api_servers: dict[str, str] | None = None,
    *,
    connect: Any = "all",
    name: str = "prod",
    allow_outage: bool = False,
    **etcd: Any,
) -> dict[str, Any]:
    """Return a spec as a user writes it; members and API servers are names with hosts.

    With `connect="own"`, the API servers use the members in turn.
    """
    servers = [{"name": server, "host": host} for server, host in (api_servers or {}).items()]
    if connect == "own":
        servers = [{**one, "member": member} for one, member in zip(servers, members, strict=False)]
    return {
        "apiVersion": "etcdplan/v1",
        "kind": "EtcdCluster",
        "metadata": {"name": name},
        "spec": {
            "etcd": {"version": VERSION, **({"allowOutage": True} if allow_outage else {}), **etcd},
            "members": [{"name": member, "host": host} for member, host in members.items()],
            "tls": {
                "ca": {"certificate": "pki/etcd-ca.crt", "key": "pki/etcd-ca.key.age"},
                "operator": {"certificate": "pki/operator.crt", "key": "pki/operator.key"},
            },
            **({"apiServers": {"connect": connect, "instances": servers}} if servers else {}),
        },
    }


def members(*numbers: int) -> dict[str, str]:
    """Return `member1` on 10.0.0.1 and so on."""
    return {f"member{n}": f"10.0.0.{n}" for n in numbers}


def api_servers(count: int, *, net: int = 1) -> dict[str, str]:
    """Return `cp1` on 10.0.1.1 and so on; on net 0 they share the members' hosts."""
    return {f"cp{n}": f"10.0.{net}.{n}" for n in range(1, count + 1)}


def target_of(spec: dict[str, Any]) -> Target:
    """Spell a spec out, with the CA of all cases."""
    return build_target(Spec.model_validate(spec), ca=CA)


def bare(*specs: dict[str, Any]) -> State:
    """Return empty hosts, all that the specs name."""
    hosts = {host for spec in specs for host in target_of(spec).hosts()}
    return State({host: Host(host) for host in sorted(hosts)}, now=NOW)


def running(spec: dict[str, Any], *others: dict[str, Any]) -> State:
    """Return the cluster of a spec as it runs, beside the empty hosts that other specs name."""
    plan = unroll(target_of(spec), bare(spec, *others))
    assert not plan.refusals, plan.refusals
    state = plan.steps[-1].after
    membership = state.membership.get()
    assert membership is not None
    listed = {url: replace(member, version=VERSION) for url, member in membership.members.items()}
    seen = replace(state.with_members(membership, listed), clusters=(membership.cluster_id,))
    return replace(seen, last_seen=seen.membership.value)


def done(spec: dict[str, Any], state: State, steps: int) -> State:
    """Return the state after the first steps of a plan."""
    plan = unroll(target_of(spec), state)
    assert not plan.refusals, plan.refusals
    return plan.steps[steps - 1].after


def happened(state: State, *effects: Effect) -> State:
    """Return the state after effects that were cut off there."""
    for effect in effects:
        state = effect.apply(state)
    return state


def down(state: State, *hosts: str, unit: str = ETCD) -> State:
    """Return the state with the unit of some hosts ended; their data is there."""
    for address in hosts:
        host = state.host(address)
        state = state.with_host(host.with_unit(unit, replace(host.unit(unit), process=ABSENT)))
    return _seen(lose(state))


def api_server_down(state: State, host: str, name: str) -> State:
    """Return the state with an API server ended."""
    return down(state, host, unit=api_server_unit(name))


def failing(state: State, host: str) -> State:
    """Return the state with an etcd that ended again and again, until its supervisor gave up."""
    there = state.host(host)
    return down(state.with_host(replace(there, etcd=replace(there.etcd, failing=True))), host)


def hung(state: State, host: str) -> State:
    """Return the state with an etcd that runs and does not answer."""
    there = state.host(host)
    process = there.etcd.process.get()
    assert process is not None
    stuck = replace(there.etcd, process=known(replace(process, hung=True, answering=False)))
    return _seen(lose(state.with_host(replace(there, etcd=stuck))))


def disk_gone(state: State, *hosts: str) -> State:
    """Return the state with the data of some members gone, and their etcd with it."""
    for address in hosts:
        state = state.with_host(replace(state.host(address), data=ABSENT))
    return down(state, *hosts)


def silent(state: State, *hosts: str, why: str = NO_ANSWER) -> State:
    """Return the state with hosts that do not answer; their etcd is off the network too."""
    gone = down(state, *hosts)
    for address in hosts:
        nothing = unknown(f"host/{address}", why)
        units = {name: Unit(nothing, nothing) for name in gone.host(address).api_servers}
        gone = gone.with_host(
            Host(
                address,
                Unit(nothing, nothing),
                data=nothing,
                trust=nothing,
                record=nothing,
                api_servers=units,
                unreachable=why,
            )
        )
    return gone


def with_data(state: State, host: str, cluster_id: int, *, foreign: str = "") -> State:
    """Return the state with data of someone else on a host."""
    return state.with_host(replace(state.host(host), data=known(Data(cluster_id, 0xBAD, foreign))))


def with_record(state: State, host: str, cluster: str, cluster_id: int) -> State:
    """Return the state with a host that remembers another cluster."""
    return state.with_host(replace(state.host(host), record=known(Record(cluster, cluster_id))))


def led_by(state: State, host: str) -> State:
    """Return the state with another leader."""
    return replace(state, leader=f"https://{host}:2380")


def aged(state: State, seconds: int) -> State:
    """Return the state some time later."""
    return replace(state, now=state.now + seconds)


def _seen(state: State) -> State:
    """Return what can be seen: without quorum the list is still read, with nobody up it is not."""
    membership = state.membership.value
    if membership is None or _anyone_runs(state, membership.members):
        return state
    return replace(
        state,
        membership=unknown("members", "no member answers"),
        last_seen=membership,
        leader=None,
        clusters=(),
    )


def _anyone_runs(state: State, urls: Iterable[str]) -> bool:
    hosts = [state.hosts[url.split("://")[1].rsplit(":", 1)[0]] for url in urls]
    return any(host.etcd.process.value is not None and not host.etcd.process.value.hung for host in hosts)
