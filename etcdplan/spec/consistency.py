"""What must hold between the parts of a spec that are valid by themselves."""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from etcdplan.spec.hosts import normalise_host
from etcdplan.spec.problems import Address, Invalid, render_address, shown

if TYPE_CHECKING:
    from etcdplan.spec.models import ClusterSpec

T = TypeVar("T")


def conflicts(spec: "ClusterSpec") -> list[Invalid]:
    """Every contradiction in `spec`, each leading to the later of the two places."""
    return [*_members(spec), *_api_servers(spec), *_override(spec), *_balancer(spec), *_backup_hosts(spec)]


def _members(spec: "ClusterSpec") -> Iterator[Invalid]:
    places = list(enumerate(spec.members))
    yield from _unique((("members", i, "name"), m.name) for i, m in places)
    # One etcd a host; peer and client URLs are unique by that.
    yield from _unique((("members", i, "host"), m.host) for i, m in places)


def _api_servers(spec: "ClusterSpec") -> Iterator[Invalid]:
    places = [(("apiServers", "instances", i), a) for i, a in enumerate(spec.api_servers.instances)]
    yield from _unique(((*place, "name"), a.name) for place, a in places)
    ports: list[tuple[Address, tuple[str, int]]] = []
    for i, member in enumerate(spec.members):
        ports.append((("members", i, "peerPort"), (member.host, member.peer_port)))
        ports.append((("members", i, "clientPort"), (member.host, member.client_port)))
    taken = {port: place for place, port in ports}
    for place, server in places:
        other = taken.setdefault((server.host, server.port), (*place, "port"))
        if other != (*place, "port"):
            what = f"{server.port} on {server.host} is also {render_address(('spec', *other))}"
            yield Invalid(what, "give it a port of its own", within=(*place, "port"))
    if spec.api_servers.drain is not None and spec.api_servers.connect != "own":
        what = "only with 'connect: own' API servers are stopped"
        yield Invalid(what, "remove it, or set 'connect: own'", within=("apiServers", "drain"))
    names = [member.name for member in spec.members]
    for place, server in places:
        if spec.api_servers.connect != "own":
            if server.member is not None:
                what = "only 'connect: own' binds an instance to a member"
                yield Invalid(what, "remove it, or set 'connect: own'", within=(*place, "member"))
        elif server.member is None:
            remedy = f"write one of {', '.join(names)}"
            yield Invalid("'connect: own' needs it", remedy, within=(*place, "member"))
        elif server.member not in names:
            remedy = f"write one of {', '.join(names)}"
            yield Invalid(f"there is no member {shown(server.member)}", remedy, within=(*place, "member"))


def _override(spec: "ClusterSpec") -> Iterator[Invalid]:
    """An override that names members would go on doing so after they are removed."""
    flag = "etcd-servers-overrides"
    members = {(member.host, member.client_port): member.name for member in spec.members}
    for host, port in re.findall(r"://\[?([^/,;]+?)\]?:([0-9]{1,5})", spec.api_servers.flags.get(flag, "")):
        try:
            name = members.get((normalise_host(host), int(port)))
        except Invalid:
            continue
        if name is not None:
            remedy = "overrides are for other clusters"
            yield Invalid(f"names member {name} of this one", remedy, within=("apiServers", "flags", flag))


def _balancer(spec: "ClusterSpec") -> Iterator[Invalid]:
    connect = spec.api_servers.connect
    if (
        not isinstance(connect, str)
        and spec.tls.mode == "managed"
        and connect.load_balancer.startswith("http:")
    ):
        place = ("apiServers", "connect", "loadBalancer")
        yield Invalid("plain HTTP does not reach members that speak TLS", "write https://", within=place)


def _backup_hosts(spec: "ClusterSpec") -> Iterator[Invalid]:
    policy = spec.backup
    if policy is None or not policy.hosts:
        return
    place = ("backup", "hosts")
    yield from _unique(((*place, i), host) for i, host in enumerate(policy.hosts))
    if spec.etcd.runtime != "systemd":
        yield Invalid("only hosts with systemd have timers", "leave it out", within=place)
    if policy.schedule is None:
        yield Invalid("without 'schedule' nothing is ever due", "set 'backup.schedule'", within=place)
    for i, destination in enumerate(policy.destinations):
        if "://" not in destination and not destination.startswith("/"):
            remedy = "write a URL, or the path of a file system that all of them have mounted"
            what = "with 'hosts', a directory beside the spec is another one on each host"
            yield Invalid(what, remedy, within=("backup", "destinations", i))


def _unique(values: Iterable[tuple[Address, T]]) -> Iterator[Invalid]:
    first: dict[T, Address] = {}
    for place, value in values:
        if first.setdefault(value, place) != place:
            what = f"{value} is also {render_address(('spec', *first[value]))}"
            key = next(part for part in reversed(place) if isinstance(part, str))
            yield Invalid(what, f"every {key.removesuffix('s')} is used once", within=place)
