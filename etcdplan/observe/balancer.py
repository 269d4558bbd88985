"""Whether a load balancer before etcd leads to every member: it is connected to, again and again.

What answers says who it is. That a member is not behind it cannot be proven so, since a load balancer may choose by
the client's address: this gives notes, and is no reason to refuse anything.
"""

from collections.abc import Iterator

from etcdplan.diff.target import Target
from etcdplan.errors import EtcdplanError
from etcdplan.hosts.ports import Hosts
from etcdplan.model.state import State, host_of

_TIMES = 4
"""Connections a member: one that takes its turn, or is chosen by chance, is rarely missed."""
_TIMEOUT = 4.0


def behind_balancer(target: Target, state: State, hosts: Hosts) -> Iterator[str]:
    """Yield what is wrong with what the spec's load balancer leads to, as seen from the host of an API server."""
    url, membership = target.load_balancer, state.membership.value
    places = [server.host for server in target.api_servers.values()] or list(target.member_hosts)
    via = next((host for host in places if not state.host(host).unreachable), None)
    if url is None or membership is None or via is None:
        return
    times = _TIMES * len(membership.members)
    try:
        answers = hosts.host(via).members_behind(url, times=times, timeout=_TIMEOUT)
    except EtcdplanError as error:
        yield f"What is behind the load balancer {url} could not be seen from {via}: {error.message}"
        return
    if not answers:
        yield f"Nobody answers at the load balancer {url}, asked from {via}."
        return
    met = {number: membership.by_id(number) for number in answers}
    for number, member in sorted(met.items()):
        if member is None:
            yield f"The load balancer {url} leads to an etcd that is no member of this cluster (ID {number:x})."
        elif member.peer_url not in target.members:
            where = f"{member.name} on {host_of(member.peer_url)}"
            yield (
                f"The load balancer {url} leads to {where}, which the spec does not name: take it out there before it "
                "is removed."
            )
    missed = [voter.name for voter in membership.voters() if voter.serving and voter.id not in met]
    if missed:
        names = ", ".join(sorted(missed))
        yield f"In {len(answers)} connections from {via} the load balancer {url} never led to {names}: look at it."
