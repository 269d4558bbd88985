"""Without quorum nothing can be changed; say so, and what is the way back."""

from etcdplan.diff.view import View
from etcdplan.model.backups import newest_of, told
from etcdplan.model.state import Host, Member, host_of
from etcdplan.planner.refusal import Refusal


def quorum_lost(view: View) -> Refusal | None:
    """A cluster without quorum."""
    if not view.born and view.state.membership.value is None:
        return None
    listed = view.listed
    if listed is not None and view.state.membership.value is not None and view.quorum.holds:
        return None
    processes = (host.etcd.process.value for host in view.state.hosts.values())
    if any(process.answering for process in processes if process is not None):
        # Somebody answers; when it cannot be said who the members are, say that.
        listed = view.membership or listed
    hosts = [view.state.host(member.host) for member in view.target.members.values()]
    if view.born and all(not host.unreachable and host.data.get() is None for host in hosts):
        return _data_gone(view)
    if listed is None:
        return Refusal(
            "nobody-answers",
            "cluster",
            "The hosts remember a cluster, but no etcd answers and nothing that is down could be started.",
            "Read the logs of etcd on the hosts. If a majority has lost its data, restore a backup.",
        )
    voters = sorted(listed.voters(), key=lambda voter: voter.name or voter.peer_url)
    if all(_waits(view, voter) for voter in voters):
        return Refusal(
            "nobody-answers",
            "cluster",
            "The etcds of all members run, and none of them answers etcdplan.",
            "Is the operator's certificate of the spec's CA, and are etcd's client ports open to the runner? "
            "If so, read the logs of etcd on the hosts.",
            exit_code=8,
        )
    down = [f"{_name(voter)} ({_how(view, voter)})" for voter in voters if not voter.serving]
    return Refusal(
        "quorum-lost",
        "cluster",
        f"Quorum is lost: {len(voters) - len(down)} of {len(voters)} voters serve, {len(voters) // 2 + 1} are needed; "
        f"not serving: {', '.join(down)}.",
        "Bring back those that have their data; no member can be removed or added without quorum. "
        + _ways(view, voters),
    )


def _ways(view: View, voters: list[Member]) -> str:
    """Say what is left when data are lost, and what each way gives up."""
    restore = f"'etcdplan restore SPEC' brings {_newest(view)} back; all that was written since it is lost."
    left = [(voter, host) for voter in voters if (host := _with_data(view, voter))]
    answers = [
        _name(voter) for voter, host in left if host.etcd.process.value and host.etcd.process.value.answering
    ]
    stopped = [_name(voter) for voter, host in left if _name(voter) not in answers]
    if not left:
        return f"If it is lost: {restore}"
    from_whom = [f"what {' or '.join(answers)} still answers"] if answers else []
    from_whom += [f"what {' or '.join(stopped)} has on its disk"] if stopped else []
    return (
        f"If it is lost, there are two ways. 'etcdplan recover SPEC' goes on with {', or '.join(from_whom)}; what only "
        f"the others had is lost, and the last writes are uncertain (--plan says from whom, and up to where). {restore}"
    )


def _newest(view: View) -> str:
    policy, state = view.target.backup, view.state
    there = (
        newest_of(state.backups, policy.destinations, view.cluster_id, restored=False, now=state.now)
        if policy
        else None
    )
    if there is None:
        return "the newest backup"
    place, backup = there
    tried = "" if backup.verified == "restore" else ", not restored on trial"
    return (
        f"{backup.name} ({told(state.now - backup.time)} old, revision {backup.revision}{tried}, in {place})"
    )


def _with_data(view: View, voter: Member) -> Host | None:
    host = view.state.hosts.get(host_of(voter.peer_url))
    data = host.data.value if host and not host.unreachable else None
    return host if data is not None and data.cluster_id == view.cluster_id else None


def _name(voter: Member) -> str:
    return voter.name or voter.peer_url


def _data_gone(view: View) -> Refusal:
    elsewhere = sorted(
        host.address
        for host in view.state.hosts.values()
        if host.data.value is not None and host.data.value.cluster_id == view.cluster_id
    )
    if elsewhere:
        return Refusal(
            "all-data-gone",
            "cluster",
            f"No member of the spec has any data, but the cluster's data is still on {', '.join(elsewhere)}.",
            "Put the members on those hosts back into the spec, and let the cluster come up before it is changed.",
        )
    return Refusal(
        "all-data-gone",
        "cluster",
        "No member of the spec has any data left.",
        f"Restore the cluster from a backup: 'etcdplan restore SPEC' brings {_newest(view)} back. A new, empty cluster "
        "would make the loss final, so none is founded.",
    )


def _waits(view: View, voter: Member) -> bool:
    host = view.state.hosts.get(host_of(voter.peer_url))
    process = host.etcd.process.value if host else None
    return process is not None and not process.hung and not process.answering


def _how(view: View, voter: Member) -> str:
    """Say what keeps a voter from serving; what cannot be seen on a host that answers is not called lost."""
    host = view.state.hosts.get(host_of(voter.peer_url))
    if host is None or host.unreachable:
        return "its host does not answer"
    if host.data.get() is None:
        return "its data is gone"
    process = host.etcd.process.get()
    if process is None:
        return "it keeps failing" if host.etcd.failing else "it is down, with its data"
    if process.answering:
        return "it answers without quorum"
    return "it hangs" if process.hung else "it runs, and waits for the others"
