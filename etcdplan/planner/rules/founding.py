"""From nothing to a cluster: a static bootstrap that never overwrites and never removes."""

from etcdplan.diff.view import View
from etcdplan.model.identity import initial_cluster
from etcdplan.model.state import Data
from etcdplan.planner.refusal import Refusal
from etcdplan.steps.base import Step
from etcdplan.steps.retire_etcd import RetireEtcd


def no_trace_of_another(view: View) -> Refusal | None:
    """Traces of another cluster where a new one shall be founded."""
    if view.born:
        return None
    for wanted in view.target.members.values():
        host = view.state.host(wanted.host)
        data = host.data.get()
        if data is None or data.cluster_id == view.target.founding_id or view.only_started_itself(host):
            continue
        settings = host.etcd.settings.get()
        begun = initial_cluster(settings) if settings else {}
        if settings and settings.get("initial-cluster-token") == view.target.token and begun:
            return Refusal(
                "spec-changed",
                f"host/{wanted.host}",
                "A bootstrap of this cluster was begun with other members than the spec has now: "
                + ", ".join(f"{name} ({url})" for url, name in sorted(begun.items()))
                + ".",
                "Finish it with the spec that it was begun with, then change the spec.",
            )
        return _existing_data(wanted.host, data)
    for host in view.state.hosts.values():
        if host.unreachable or host.address in view.target.member_hosts:
            continue
        data = host.data.get()
        if data is not None and data.cluster_id == view.target.founding_id:
            return _existing_data(host.address, data)
    for server in view.target.api_servers.values():
        settings = view.state.host(server.host).unit(server.unit).settings.get()
        if settings and settings.get("etcd-servers"):
            return Refusal(
                "api-server-in-use",
                f"apiserver/{server.name}",
                f"API server {server.name} already points at an etcd cluster ({settings['etcd-servers']}), "
                "while no member of the spec has data.",
                "If that cluster's data is lost, restore it from a backup; an empty one would make the loss final.",
            )
    return None


def started_by_themselves(view: View) -> Step | None:
    """Take clusters out of service that a package has started by itself."""
    for wanted in () if view.born else view.target.members.values():
        if view.only_started_itself(view.state.host(wanted.host)):
            return RetireEtcd(wanted.name, wanted.host, forget=False)
    return None


def _existing_data(host: str, data: Data) -> Refusal:
    return Refusal(
        "existing-data",
        f"host/{host}",
        f"Host {host} already holds data of an etcd cluster (ID {data.cluster_id:x}).",
        "A bootstrap never overwrites data. Use another host, or move the data away if unneeded.",
    )


def start_founders(view: View) -> Step | Refusal | None:
    """Found the cluster."""
    if view.born:
        return None
    for wanted in view.target.members.values():
        host = view.state.host(wanted.host)
        step = view.etcd(wanted)
        # One that failed before it had any data is tried again: whoever applies again has mended the cause.
        failed = host.etcd.failing and not host.etcd.held and host.data.get() is not None
        if failed and view.runs_as_wanted(wanted):
            return Refusal(
                "does-not-start",
                f"member/{wanted.name}",
                f"etcd of {wanted.name} on {wanted.host} ends again and again on its data while the cluster is being "
                "founded.",
                "Read its log on the host, mend the cause, start it, and plan again.",
            )
        member = view.membership.members.get(wanted.peer_url) if view.membership else None
        if member is not None and member.serving:
            continue  # Its settings wait until the cluster stands; a restart now could take the quorum away.
        removed = member is None and view.membership is not None
        if removed or (member is not None and member.client_urls and host.data.get() is None):
            return Refusal(
                "founding-broken",
                f"member/{wanted.name}",
                f"Member {wanted.name} {'was removed' if removed else 'lost its data'} before the founding of the "
                "cluster was ended.",
                "The new cluster has no data worth keeping yet: move etcd's data away on all of its hosts, "
                "and found it again.",
            )
        if step.effects(view.state):
            return step
    return None


def all_founded(view: View) -> Refusal | None:
    """Founding members that do not come up."""
    if view.born:
        return None
    for url, wanted in view.target.members.items():
        member = view.membership.members.get(url) if view.membership else None
        if member is None or not member.serving:
            return Refusal(
                "does-not-serve",
                f"member/{wanted.name}",
                f"etcd of {wanted.name} on {wanted.host} runs but does not serve, so the founding cannot be ended.",
                "Read its log on the host, mend the cause, and plan again.",
            )
    return None
