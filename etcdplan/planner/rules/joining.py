"""A new member comes as a learner, runs, votes, and is recorded; then the next one."""

from etcdplan.diff.view import View
from etcdplan.model.state import host_of
from etcdplan.planner.refusal import Refusal
from etcdplan.steps.base import Step
from etcdplan.steps.membership import AddMember, PromoteMember
from etcdplan.steps.retire_etcd import RetireEtcd
from etcdplan.steps.seal_host import SealHost


def seal(view: View) -> Step | None:
    """Record the cluster on its hosts."""
    if view.membership is None or view.joining:
        return None
    for host in view.target.hosts():
        if view.absent_api_host(host) or not _settled(view, host):
            continue
        step = SealHost(view.target.cluster, host)
        if step.effects(view.state):
            return step
    return None


def _settled(view: View, host: str) -> bool:
    """Whether the host's member serves; a host with API servers only has none."""
    wanted = view.target.member_hosts.get(host)
    member = view.membership.members.get(wanted.peer_url) if wanted and view.membership else None
    return wanted is None or (member is not None and member.serving)


def host_of_newcomer(view: View) -> Step | Refusal | None:
    """Make the hosts of new members ready."""
    if not view.born:
        return None
    listed = view.membership.members if view.membership else {}
    for wanted in (*view.joining, *view.missing[:1]):
        host = view.state.host(wanted.host)
        data, member = host.data.get(), listed.get(wanted.peer_url)
        tenant = next((other for other in view.leaving if host_of(other.peer_url) == wanted.host), None)
        if tenant is not None:
            return Refusal(
                "host-in-use",
                f"host/{wanted.host}",
                f"Member {tenant.name} serves on {wanted.host}, where the spec wants {wanted.peer_url}.",
                "One host runs one etcd, and a healthy member is not removed before its successor votes. "
                "Move the member to another host, or keep its peer URL.",
            )
        # An etcd that was started before the cluster lists it has failed for that reason alone.
        early = member is None and data is None and host.etcd.failing and not host.etcd.held
        if early or (data is not None and (member is None or data.member_id != member.id)):
            return RetireEtcd(wanted.name, wanted.host, forget=False)
    return None


def start_newcomer(view: View) -> Step | None:
    """Start new members."""
    # One that kept failing, too: whoever applies again has mended the cause, or is told of it again.
    for wanted in view.joining:
        step = view.etcd(wanted)
        if step.effects(view.state):
            return step
    return None


def promote_newcomer(view: View) -> Step | Refusal | None:
    """Let new members vote."""
    for wanted in view.joining:
        member = view.membership.members[wanted.peer_url] if view.membership else None
        if member is not None and member.learner and member.serving:
            return PromoteMember(wanted.name, wanted.peer_url)
        if member is not None and not member.serving:
            return Refusal(
                "does-not-serve",
                f"member/{wanted.name}",
                f"etcd of the new member {wanted.name} on {wanted.host} runs but does not answer.",
                "Read its log on the host, mend the cause, and plan again.",
            )
    return None


def add_missing(view: View) -> Step | None:
    """Add new members."""
    if view.membership is None or not view.born:
        return None
    for wanted in view.missing:
        return AddMember(wanted.name, wanted.peer_url)
    return None
