"""Without quorum nothing can be changed; say so, and what is the way back."""

from etcdplan.diff.view import View
from etcdplan.planner.refusal import Refusal


def quorum_lost(view: View) -> Refusal | None:
    """A cluster without quorum."""
    if not view.born and view.state.membership.value is None:
        return None
    listed = view.listed
    if listed is not None and view.state.membership.value is not None and view.quorum.holds:
        return None
    if any(
        host.etcd.process.value and host.etcd.process.value.answering for host in view.state.hosts.values()
    ):
        listed = (
            view.membership or listed
        )  # Somebody answers; when it cannot be said who the members are, say that.
    hosts = [view.state.host(member.host) for member in view.target.members.values()]
    if view.born and all(not host.unreachable and host.data.get() is None for host in hosts):
        return Refusal(
            "all-data-gone",
            "cluster",
            "No member of the spec has any data left.",
            "Restore the cluster from a backup. A new, empty cluster would make the loss final, so none is founded.",
        )
    if listed is None:
        return Refusal(
            "nobody-answers",
            "cluster",
            "The hosts remember a cluster, but no etcd answers and nothing that is down could be started.",
            "Read the logs of etcd on the hosts. If a majority has lost its data, restore a backup.",
        )
    down = sorted(member.name or member.peer_url for member in listed.voters() if not member.serving)
    voters = sum(1 for _ in listed.voters())
    return Refusal(
        "quorum-lost",
        "cluster",
        f"Quorum is lost: {voters - len(down)} of {voters} voters serve, {voters // 2 + 1} are needed; "
        f"not serving: {', '.join(down)}.",
        "Bring back one of them with its data. If their data is lost, recover from a survivor or restore a backup; "
        "no member can be removed or added without quorum.",
    )
