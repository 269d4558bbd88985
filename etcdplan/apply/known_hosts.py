"""Which hosts the records of a cluster name: none is forgotten while it could still do harm."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from etcdplan.diff.target import Target
from etcdplan.diff.view import View
from etcdplan.model.effects import WriteRecord
from etcdplan.model.state import Host, Record, State, host_of


@dataclass(frozen=True, slots=True)
class Known:
    """Hosts to remember: those of members and those that take backups, and those of API servers."""

    members: tuple[str, ...]
    servers: tuple[str, ...]


def everyone(target: Target, state: State) -> Known:
    """Return the hosts of the spec, of the listed members, and all remembered ones: for as long as a run goes on."""
    membership = state.membership.value
    hosts = [*target.member_hosts, *target.backup_hosts]
    hosts += (host_of(url) for url in (membership.members if membership else ()))
    servers = [server.host for server in target.api_servers.values()]
    for host in state.hosts.values():
        if host.record.value is not None:
            hosts += host.record.value.hosts
            servers += (*host.record.value.servers, *host.record.value.gone)
    return Known(tuple(dict.fromkeys(hosts)), tuple(dict.fromkeys(servers)))


def still_known(target: Target, state: State) -> Known:
    """Return the hosts to remember when everything is as the spec says.

    Of members these are the spec's, its backup hosts, and silent ones on which it has an API server. Of API servers
    they are the spec's, and former ones on which one still runs: who is silent and left out of the spec was given up by
    that.
    """
    view = View(target, state)
    listed = [server.host for server in target.api_servers.values()]
    silent = (host for host in listed if view.absent_api_host(host))
    former = (one for one in everyone(target, state).servers if _runs_api_server(state.host(one)))
    return Known(
        tuple(dict.fromkeys((*target.member_hosts, *target.backup_hosts, *silent))),
        tuple(dict.fromkeys((*listed, *former))),
    )


def _runs_api_server(host: Host) -> bool:
    """Whether one was seen to run, or may."""
    processes = (unit.process for unit in host.api_servers.values())
    return bool(host.strays) or any(one.value is not None or one.is_unknown for one in processes)


def outdated_records(target: Target, state: State, known: Known) -> Iterator[WriteRecord]:
    """Yield what brings the records on the spec's hosts up to date, where a host has one."""
    membership = state.membership.value
    for address in target.hosts():
        record = state.hosts[address].record.value
        if record is None or membership is None:
            continue
        ours = membership.cluster_id == record.cluster_id  # Not so between a restore and its end.
        members = membership.members if ours else record.members
        # Who came back was seen to do no harm: it is no part of the cluster, or has become one again.
        gone = tuple(one for one in record.gone if state.host(one).unreachable)
        wanted = replace(record, hosts=known.members, servers=known.servers, members=members, gone=gone)
        if _remembered(record) != _remembered(wanted):
            yield WriteRecord(address, wanted)


def _remembered(record: Record) -> tuple[object, ...]:
    entries = {(m.id, m.name, m.peer_url, m.learner) for m in record.members.values()}
    return record.hosts, record.servers, record.gone, entries
