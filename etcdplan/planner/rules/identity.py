"""Is this the cluster that the spec means, and can all of it be seen?"""

from etcdplan.diff.target import MemberTarget
from etcdplan.diff.view import View
from etcdplan.model.identity import bootstrap_ids
from etcdplan.model.state import PLACES, Member, Record, host_of
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
        "Bring the host back, or, if it is gone for good, replace it in the spec by another one (or leave the API "
        "servers out that it ran).",
        exit_code=8,
    )


def one_cluster(view: View) -> Refusal | None:
    """More than one cluster."""
    state = view.state
    records = {host.address: host.record.get() for host in state.hosts.values() if not host.unreachable}
    seen = {record.cluster_id for record in records.values() if record} | set(state.clusters)
    for address, record in records.items():
        if record is not None and record.cluster != view.target.cluster:
            return other_cluster(view, address, record)
    seen -= view.former  # Of a late one of these, `leftovers` takes care.
    if len(seen) > 1:
        ids = ", ".join(f"{number:x}" for number in sorted(seen))
        return Refusal(
            "two-clusters",
            "cluster",
            f"More than one cluster is seen where there must be one (IDs {ids}).",
            "Find out which members belong to which; stop those that do not belong here. Nothing was changed.",
        )
    membership = state.membership.value
    if view.born or membership is None or membership.cluster_id == view.target.founding_id:
        return None
    if not any(_begun_with(view, host, membership.cluster_id) for host in view.target.member_hosts):
        return Refusal(
            "not-ours",
            "cluster",
            f"A cluster that was not made from this spec answers here (ID {membership.cluster_id:x}).",
            "Taking over an existing cluster is not supported yet; use other hosts or ports for a new one.",
        )
    return None


def other_cluster(view: View, address: str, record: Record) -> Refusal:
    """Refuse a host that remembers a cluster of another name."""
    return Refusal(
        "other-cluster",
        f"host/{address}",
        f"Host {address} belongs to cluster {record.cluster!r} ({record.cluster_id:x}), "
        f"the spec is for {view.target.cluster!r}.",
        "Take the host out of this spec, or use the spec of its cluster.",
    )


def _begun_with(view: View, address: str, cluster_id: int) -> bool:
    """Whether a host's settings founded that cluster for this spec, when it named other members."""
    settings = view.state.host(address).etcd.settings.get()
    if not settings or settings.get("initial-cluster-token") != view.target.token:
        return False
    return bootstrap_ids(settings)[0] == cluster_id


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
        if data is None or url in listed or view.only_started_itself(view.state.host(wanted.host)):
            continue
        what = data.foreign or (
            f"data of etcd cluster {data.cluster_id:x}" if data.cluster_id != view.cluster_id else ""
        )
        if what and (view.born or data.cluster_id == 0):
            return foreign_data(wanted, what)
    return None


def foreign_data(wanted: MemberTarget, what: str) -> Refusal:
    """Refuse a data directory that holds what is not the cluster's."""
    return Refusal(
        "foreign-data",
        f"host/{wanted.host}",
        f"The data directory {wanted.settings['data-dir']} on {wanted.host} is not ours: it holds {what}.",
        "Look at it, and move it away yourself if nobody needs it; etcdplan never touches data of others.",
    )


def nothing_unsupported(view: View) -> Refusal | None:
    """Changes that are not supported yet."""
    return _members_unsupported(view) or one_authority(view) or _api_server_missing(view)


def _api_server_missing(view: View) -> Refusal | None:
    for server in view.api_servers:
        units = view.state.host(server.host).api_servers
        if view.state.host(server.host).unit(server.unit).missing:
            there = ", ".join(sorted(name for name, unit in units.items() if not unit.missing))
            return Refusal(
                "api-server-missing",
                f"apiserver/{server.name}",
                f"Host {server.host} has no API server {server.name}; "
                f"{'there is ' + there if there else 'there is none at all'}.",
                "Name it in the spec as its host does, or install it first, or leave it out of the spec: etcdplan sets "
                "flags of API servers, and installs and renames none.",
            )
    return None


def _members_unsupported(view: View) -> Refusal | None:
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
        if member is not None and member.started:
            there = view.state.host(wanted.host).data.get() is not None
            refusal = (data_moves(view, wanted) if there else None) or _clients_move(view, wanted, member)
            if refusal is not None:
                return refusal
    return None


def data_moves(view: View, wanted: MemberTarget) -> Refusal | None:
    """A member started on another, empty directory would take up its old identity without its data, and panic."""
    settings = view.state.host(wanted.host).etcd.settings.get()
    for flag in PLACES:
        if settings is not None and settings.get(flag) != wanted.settings.get(flag):
            there, then = (
                f"at {s[flag]}" if flag in s else "within its data-dir" for s in (settings, wanted.settings)
            )
            return Refusal(
                "data-moves",
                f"member/{wanted.name}",
                f"Member {wanted.name} has its {flag} {there}, and the spec wants it {then}.",
                "Moving data is not supported yet: keep the directory, or replace the members one by one by new ones.",
            )
    return None


def _clients_move(view: View, wanted: MemberTarget, member: Member) -> Refusal | None:
    """API servers would lose one endpoint after the other while the members restart."""
    if (
        member.client_urls in ((), (wanted.client_url,))
        or not view.target.api_servers
        or view.target.load_balancer
    ):
        return None
    return Refusal(
        "clients-move",
        f"member/{wanted.name}",
        f"Member {wanted.name} serves clients at {', '.join(member.client_urls)}, the spec wants {wanted.client_url}.",
        "Changing the client port under API servers is not supported yet: replace the members one by one by new ones.",
    )


def one_authority(view: View) -> Refusal | None:
    """Another CA than the hosts'."""
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
