"""Is this the cluster that the spec means, and can all of it be seen?"""

from etcdplan.diff.view import View
from etcdplan.model.state import host_of
from etcdplan.planner.refusal import Refusal


def every_host_answers(view: View) -> Refusal | None:
    """Hosts that do not answer."""
    silent = [
        host
        for host in view.target.hosts()
        if view.state.host(host).unreachable and not view.absent_api_host(host)
    ]
    if not silent:
        return None
    reasons = "; ".join(f"{host}: {view.state.host(host).unreachable}" for host in silent)
    return Refusal(
        "host-unreachable",
        f"host/{silent[0]}",
        f"The plan rests on {'hosts that do' if len(silent) > 1 else 'a host that does'} not answer ({reasons}).",
        "Bring the host back, or, if it is gone for good, replace its member in the spec by one on another host.",
        exit_code=8,
    )


def one_cluster(view: View) -> Refusal | None:
    """More than one cluster."""
    state = view.state
    records = {host.address: host.record.get() for host in state.hosts.values() if not host.unreachable}
    seen = {record.cluster_id for record in records.values() if record} | set(state.clusters)
    for address, record in records.items():
        if record is not None and record.cluster != view.target.cluster:
            return Refusal(
                "other-cluster",
                f"host/{address}",
                f"Host {address} belongs to cluster {record.cluster!r} ({record.cluster_id:x}), "
                f"the spec is for {view.target.cluster!r}.",
                "Take the host out of this spec, or use the spec of its cluster.",
            )
    if len(seen) > 1:
        ids = ", ".join(f"{number:x}" for number in sorted(seen))
        return Refusal(
            "two-clusters",
            "cluster",
            f"More than one cluster is seen where there must be one (IDs {ids}).",
            "Find out which members belong to which; stop those that do not belong here. Nothing was changed.",
        )
    membership = state.membership.value
    if not view.born and membership is not None and membership.cluster_id != view.target.founding_id:
        return Refusal(
            "not-ours",
            "cluster",
            f"A cluster that was not made from this spec answers here (ID {membership.cluster_id:x}).",
            "Taking over an existing cluster is not supported yet; use other hosts or ports for a new one.",
        )
    return None


def nothing_foreign(view: View) -> Refusal | None:
    """Members and data of someone else."""
    for url, member in (view.listed.members if view.listed else {}).items():
        if not member.started and url not in view.target.members:
            return Refusal(
                "foreign-unstarted",
                f"member/{host_of(url)}",
                f"The member list holds an unstarted {'learner' if member.learner else 'voter'} at {url} "
                "that the spec does not name: somebody may be adding it at this moment.",
                "Let that change finish, or put the member into the spec, or remove it: "
                f"etcdctl member remove {member.id:x}.",
            )
    listed = view.listed.members if view.listed else {}
    for url, wanted in view.target.members.items():
        data = view.state.host(wanted.host).data.get()
        if data is None or url in listed:
            continue
        what = data.foreign or (
            f"data of etcd cluster {data.cluster_id:x}" if data.cluster_id != view.cluster_id else ""
        )
        if what and (view.born or data.cluster_id == 0):
            return Refusal(
                "foreign-data",
                f"host/{wanted.host}",
                f"The data directory {wanted.settings['data-dir']} on {wanted.host} is not ours: it holds {what}.",
                "Look at it, and move it away yourself if nobody needs it; etcdplan never touches data of others.",
            )
    return None


def nothing_unsupported(view: View) -> Refusal | None:
    """Changes that are not supported yet."""
    listed = view.listed.members if view.listed else {}
    places = {url.split("://", 1)[1]: url for url in listed}
    for url, wanted in view.target.members.items():
        other = places.get(url.split("://", 1)[1])
        if other is not None and other != url:
            return Refusal(
                "scheme-change",
                f"member/{wanted.name}",
                f"Member {wanted.name} is listed as {other} and the spec wants {url}.",
                "Switching TLS on or off for a running cluster is not supported yet.",
            )
        member = listed.get(url)
        if member is not None and member.version and member.version != view.target.version:
            return Refusal(
                "version-change",
                f"member/{wanted.name}",
                f"Member {wanted.name} runs etcd {member.version} and the spec wants {view.target.version}.",
                "Upgrades and downgrades are not supported yet; write the running version into the spec.",
            )
    if not view.target.ca:
        return None
    for host in view.target.hosts():
        if view.absent_api_host(host):
            continue
        trust = view.state.host(host).trust.get()
        if trust is not None and trust != (view.target.ca,):
            return Refusal(
                "authority-change",
                f"trust/{host}",
                f"Host {host} trusts another CA than the one of the spec.",
                "Changing the CA of a cluster is not supported yet; use the CA certificate that the hosts have.",
            )
    return None
